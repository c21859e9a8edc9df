"""BentoML with a service of one method, as its documentation shows it."""

import os
import sys
from pathlib import Path

if __name__ == "__main__":
    os.environ["BENCH_MODEL"] = sys.argv[1]
    binary = str(Path(sys.executable).with_name("bentoml"))
    here = str(Path(__file__).parent)
    os.chdir(here)
    os.execv(binary, [binary, "serve", "bento:Service", "--port", sys.argv[2], "--host", "127.0.0.1"])  # noqa: S606

import bentoml  # type: ignore[import-not-found]  # installed where it runs
import joblib
import numpy as np


@bentoml.service(workers=1)
class Service:
    """One model."""

    def __init__(self) -> None:
        self.model = joblib.load(Path(os.environ["BENCH_MODEL"]) / "model.joblib")

    @bentoml.api  # type: ignore[untyped-decorator]  # as above
    def predict(self, rows: list[list[float]]) -> list[int]:
        """One class a row."""
        return [int(value) for value in self.model.predict(np.array(rows, dtype=np.float32))]
