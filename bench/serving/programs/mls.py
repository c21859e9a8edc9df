"""MLServer with a runtime of one model and adaptive batching."""

import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    settings = Path(tempfile.mkdtemp())
    (settings / "settings.json").write_text(
        json.dumps(
            {
                "http_port": int(sys.argv[2]),
                "grpc_port": int(sys.argv[2]) + 1,
                "metrics_port": int(sys.argv[2]) + 2,
                "parallel_workers": 0,
                "host": "127.0.0.1",
                "debug": False,
            }
        )
    )
    (settings / "model-settings.json").write_text(
        json.dumps(
            {
                "name": "m",
                "implementation": "mls.Model",
                "parameters": {"uri": sys.argv[1]},
                "max_batch_size": 64,
                "max_batch_time": 0.001,
            }
        )
    )
    binary = str(Path(sys.executable).with_name("mlserver"))
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent), "BENCH_KIND": sys.argv[3]}
    os.execve(binary, [binary, "start", str(settings)], environment)  # noqa: S606

import numpy as np
from mlserver import MLModel  # type: ignore[import-not-found]  # installed where it runs
from mlserver.codecs import NumpyCodec, NumpyRequestCodec  # type: ignore[import-not-found]  # installed where it runs
from mlserver.types import InferenceResponse  # type: ignore[import-not-found]  # installed where it runs
from predictor import predictor  # type: ignore[import-not-found]  # beside this program


class Model(MLModel):  # type: ignore[misc]  # as above
    """One model."""

    async def load(self) -> bool:
        """Read it."""
        self.predictor = predictor(Path(self.settings.parameters.uri), os.environ["BENCH_KIND"])
        return True

    async def predict(self, payload: Any) -> InferenceResponse:
        """One class a row."""
        rows = NumpyRequestCodec.decode_request(payload).astype(np.float32)
        output = NumpyCodec.encode_output("predict", np.asarray(self.predictor(rows), dtype=np.int64))
        return InferenceResponse(model_name=self.name, outputs=[output])
