"""The model as ONNX for the in-process runtime, written only when it answers as the model does.

The graph takes float64, as training does, since rounding a feature to float32 may move it across a threshold; where the runtime has no float64 operator
(boosted trees) it takes float32, if that gives the same answers on the holdout.
"""

from __future__ import annotations

import logging
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

TOLERANCE = 1e-5
"""The largest difference of a probability, or relative difference of a number, that counts as the same answer."""

_BOOSTERS = frozenset({"lightgbm", "xgboost"})


def export(path: Path, model: Any, holdout: pd.DataFrame) -> str | None:
    """Write `model` to `path` when its answers on the holdout are the model's own.

    Args:
        path: the file to write.
        model: the fitted estimator.
        holdout: float64 features, at least one row.

    Returns:
        None when it was written, else why not.
    """
    reasons = []
    for kind in (np.float64, np.float32):
        rows = holdout.to_numpy(dtype=kind)
        try:
            content = _convert(model, rows)
        except Exception as error:  # noqa: BLE001 - skl2onnx raises what its converters raise; without ONNX the model is still served
            reasons.append(f"{type(error).__name__}: {str(error).splitlines()[0][:200] if str(error) else ''}")
            continue
        difference = _difference(content, model, holdout, rows)
        if difference is None:
            path.write_bytes(content)
            return None
        reasons.append(difference)
    return f"no ONNX: as float64: {reasons[0]}; as float32: {reasons[1]}"


def _convert(model: Any, rows: np.ndarray) -> bytes:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.getLogger("skl2onnx").setLevel(logging.ERROR)
        from skl2onnx import to_onnx

        _know_boosters(model)
        options = {id(model): {"zipmap": False}} if hasattr(model, "predict_proba") else None
        content: bytes = to_onnx(model, rows[:1], options=options, target_opset=_opset(model)).SerializeToString()
        return content


def _opset(model: Any) -> dict[str, int] | None:
    """The older operators, where a converter knows no newer ones."""
    parts = [model, *(step for _, step in getattr(model, "steps", []))]
    if any(type(part).__module__.split(".")[0] in _BOOSTERS or hasattr(part, "score_samples") for part in parts):
        return {"": 15, "ai.onnx.ml": 3}
    return None


def _know_boosters(model: Any) -> None:
    """Tell skl2onnx how LightGBM and XGBoost are converted, where the model is one of them."""
    module = type(model).__module__.split(".")[0]
    if module not in _BOOSTERS:
        return
    from skl2onnx import update_registered_converter
    from skl2onnx.common.shape_calculator import (
        calculate_linear_classifier_output_shapes,
        calculate_linear_regressor_output_shapes,
    )

    if module == "lightgbm":
        from onnxmltools.convert.lightgbm.operator_converters.LightGbm import convert_lightgbm as convert
    else:
        from onnxmltools.convert.xgboost.operator_converters.XGBoost import convert_xgboost as convert
    classifies = hasattr(model, "predict_proba")
    update_registered_converter(
        type(model), type(model).__name__,
        calculate_linear_classifier_output_shapes if classifies else calculate_linear_regressor_output_shapes, convert,
        options={"nocl": [True, False], "zipmap": [True, False, "columns"]} if classifies else None,
    )  # fmt: skip


def _difference(content: bytes, model: Any, holdout: pd.DataFrame, rows: np.ndarray) -> str | None:
    import onnxruntime

    session_options = onnxruntime.SessionOptions()
    session_options.intra_op_num_threads = 1
    session_options.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(content, session_options, providers=["CPUExecutionProvider"])
        answers = session.run(None, {session.get_inputs()[0].name: rows})
    except Exception as error:  # noqa: BLE001 - the runtime has a family of its own errors
        return f"the runtime refuses it: {str(error).splitlines()[0]}"
    if hasattr(model, "predict_proba"):
        own = model.predict_proba(holdout)
        furthest = float(np.abs(np.asarray(answers[1]) - own).max())
        # two classes may tie exactly, as with an even number of trees: then either label is the model's answer
        places = {label: at for at, label in enumerate(model.classes_.tolist())}
        given = own[np.arange(len(own)), [places[label] for label in np.asarray(answers[0]).tolist()]]
        wrong = int((given < own.max(axis=1) - 2 * abs(TOLERANCE)).sum())
        if wrong or furthest > TOLERANCE:
            return f"{wrong} of {len(rows)} labels differ, probabilities by up to {furthest:.2g}"
        return None
    numbers = np.asarray(model.predict(holdout), dtype=np.float64)
    furthest = float((np.abs(np.asarray(answers[0]).reshape(-1) - numbers) / np.maximum(np.abs(numbers), 1.0)).max())
    return f"predictions differ by up to {furthest:.2g}" if furthest > TOLERANCE else None
