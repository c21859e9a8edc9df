"""One version as training registers it, prepared once for all tests: a process of its own has to import MLflow for that."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from maestro.core.canonical import canonical_bytes
from maestro.core.contract import Feature, ModelContract, Output
from maestro.security.artifact import measure
from maestro.serving.runtimes import Runtimes
from maestro.serving.runtimes.plan import PlanStore

COLUMNS = 6


@dataclass(frozen=True)
class Logged:
    """A scaled forest, its data, and its version folder, which also holds an ONNX file of another model."""

    model: Any
    rows: NDArray[np.float64]
    contract: ModelContract
    folder: Path
    digest: str

    def own(self, rows: NDArray[np.float64]) -> list[int]:
        """What the model itself predicts."""
        import pandas as pd

        found: list[int] = self.model.predict(pd.DataFrame(rows, columns=self.contract.names)).tolist()
        return found


def version_of(folder: Path, contract: ModelContract) -> str:
    """Put contract and manifest into a version folder; its digest."""
    (folder / "files" / "contract.json").write_bytes(canonical_bytes(contract.document()))
    manifest = measure(folder, model="m", version="1.0.0", run_id="r1")
    (folder / "manifest.json").write_bytes(canonical_bytes(manifest.document()))
    return manifest.content_digest()


@pytest.fixture(scope="session")
def logged(tmp_path_factory: pytest.TempPathFactory) -> Logged:
    import pandas as pd
    from skl2onnx import to_onnx
    from sklearn.datasets import load_breast_cancer
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    from maestro.clients.mlflow_model import save_sklearn

    rows, target = load_breast_cancer(return_X_y=True)
    frame = pd.DataFrame(rows[:, :COLUMNS], columns=[f"x{i}" for i in range(COLUMNS)])
    model = make_pipeline(StandardScaler(), RandomForestClassifier(30, random_state=0)).fit(frame, target)
    other = make_pipeline(StandardScaler(), RandomForestClassifier(30, random_state=9)).fit(frame, 1 - target)
    folder = tmp_path_factory.mktemp("logged")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        save_sklearn(
            folder / "files", model, inputs=frame.head(5), outputs=model.predict(frame.head(5)), run_id="r1", model_id=None,
            requirements=["scikit-learn"],
        )  # fmt: skip
        content = to_onnx(other, rows[:1, :COLUMNS], options={id(other): {"zipmap": False}}).SerializeToString()
    (folder / "files" / "model.onnx").write_bytes(content)
    features = tuple(
        Feature(name=name, min=float(frame[name].min()), max=float(frame[name].max())) for name in frame.columns
    )
    contract = ModelContract.build(features, Output(kind="classification", classes=("0", "1")))
    return Logged(model, rows[:, :COLUMNS].copy(), contract, folder, version_of(folder, contract))


@pytest.fixture(scope="session")
def store(logged: Logged, tmp_path_factory: pytest.TempPathFactory) -> PlanStore:
    """Where the version's plan lies, made as a server makes it: by loading a version that has none."""
    root = tmp_path_factory.mktemp("home") / "plans"
    runtime = Runtimes(plans=root).make("onnx", logged.folder / "files", logged.contract)
    runtime.load()
    runtime.close()
    return PlanStore(root)
