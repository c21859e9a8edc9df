"""BentoML with a service of one method, as its documentation shows it; the third argument is joblib or onnx, the fourth `batched` for adaptive batching."""

import os
import sys
from pathlib import Path

if __name__ == "__main__":
    os.environ["BENCH_MODEL"], os.environ["BENCH_KIND"] = sys.argv[1], sys.argv[3]
    os.environ["BENCH_BATCHED"] = "1" if "batched" in sys.argv else ""
    binary = str(Path(sys.executable).with_name("bentoml"))
    here = str(Path(__file__).parent)
    os.chdir(here)
    os.execv(binary, [binary, "serve", "bento:Service", "--port", sys.argv[2], "--host", "127.0.0.1"])  # noqa: S606

import bentoml  # type: ignore[import-not-found]  # installed where it runs
import numpy as np
from predictor import predictor  # type: ignore[import-not-found]  # beside this program


@bentoml.service(workers=1)
class Service:
    """One model."""

    def __init__(self) -> None:
        self.predictor = predictor(Path(os.environ["BENCH_MODEL"]), os.environ["BENCH_KIND"])

    if os.environ["BENCH_BATCHED"]:

        @bentoml.api(batchable=True, max_batch_size=64, max_latency_ms=100)  # type: ignore[untyped-decorator]  # as above
        def predict(self, rows: np.ndarray) -> np.ndarray:
            """One class a row."""
            return np.asarray(self.predictor(rows), dtype=np.int64)

    else:

        @bentoml.api  # type: ignore[untyped-decorator]  # as above
        def predict(self, rows: list[list[float]]) -> list[int]:
            """One class a row."""
            return [int(value) for value in self.predictor(rows)]
