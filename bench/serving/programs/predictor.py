"""The model as a peer calls it: as it was logged, or as the ONNX file."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np


def predictor(folder: Path, kind: str) -> Callable[[Any], Any]:
    """From rows of float32 to classes; `kind` is joblib or onnx."""
    if kind == "onnx":
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        session = onnxruntime.InferenceSession(str(folder / "model.onnx"), options, providers=["CPUExecutionProvider"])
        name, label = session.get_inputs()[0].name, session.get_outputs()[0].name
        return lambda rows: session.run([label], {name: np.ascontiguousarray(rows, dtype=np.float32)})[0]
    import joblib

    model = joblib.load(folder / "model.joblib")
    return lambda rows: model.predict(np.asarray(rows, dtype=np.float32))
