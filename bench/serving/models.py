"""The models that are served, their rows and their right answers, in the forms that each server takes."""

from __future__ import annotations

import json
import shutil
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maestro.clients.home import Home
from maestro.core.canonical import canonical_bytes, digest
from maestro.core.clock import SystemClock
from maestro.core.contract import Feature, ModelContract, Output
from maestro.core.principals import Principal, PrincipalRole
from maestro.core.statement import AdmissionPredicate
from maestro.security.artifact import measure
from maestro.security.credential import Credential, KeyVerifier
from maestro.security.keyring import ensure_keys, key_path
from maestro.security.signing import PrivateKey
from maestro.security.statements import promotion, provenance, write_envelope
from maestro.security.verifiers import write_verifiers

KINDS = ("forest", "boosted")
FEATURES = 30


@dataclass(frozen=True)
class Served:
    """One model.

    Args:
        folder: holds `mlflow/` (as logged), `model.joblib`, `model.onnx`, and `home/` for our server, where it is signed and promoted.
        token: a key for our server.
        rows: float32 values as float64, so that every library reads the same numbers.
    """

    kind: str
    folder: Path
    token: str
    rows: NDArray[np.float64]
    answers: list[int]


def build(kind: str, root: Path) -> Served:
    """Train, log, convert, register."""
    rows, target = _data(kind)
    model, onnx = _forest(rows, target) if kind == "forest" else _boosted(rows, target)
    answers = [int(value) for value in model.predict(rows[:512].astype(np.float32))]
    folder = root / kind
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    import joblib

    joblib.dump(model, folder / "model.joblib")
    (folder / "model.onnx").write_bytes(onnx)
    _log(kind, model, folder / "mlflow")
    classes = tuple(str(value) for value in sorted({int(value) for value in target}))
    token = _register(folder, rows, classes)
    for name, count in (("one", 1), ("hundred", 100)):
        (folder / f"{name}.json").write_text(json.dumps({"instances": rows[:count].tolist()}))
    return Served(kind, folder, token, rows, answers)


def _data(kind: str) -> tuple[NDArray[np.float64], NDArray[Any]]:
    if kind == "forest":
        from sklearn.datasets import load_breast_cancer

        rows, target = load_breast_cancer(return_X_y=True)
        return rows.astype(np.float32).astype(np.float64), target
    from sklearn.datasets import load_digits

    rows, target = load_digits(return_X_y=True)
    keep = np.argsort(rows.var(axis=0))[-FEATURES:]
    return np.ascontiguousarray(rows[:, np.sort(keep)]), target


def _forest(rows: NDArray[np.float64], target: NDArray[Any]) -> tuple[Any, bytes]:
    from skl2onnx import to_onnx
    from sklearn.ensemble import RandomForestClassifier

    single = rows.astype(np.float32)
    model = RandomForestClassifier(n_estimators=100, max_depth=10, random_state=0, n_jobs=1).fit(single, target)
    return model, to_onnx(model, single[:1], options={id(model): {"zipmap": False}}).SerializeToString()


def _boosted(rows: NDArray[np.float64], target: NDArray[Any]) -> tuple[Any, bytes]:
    import onnxmltools
    import xgboost
    from onnxmltools.convert.common.data_types import FloatTensorType

    model = xgboost.XGBClassifier(n_estimators=200, max_depth=6, n_jobs=1, random_state=0)
    model.fit(rows.astype(np.float32), target)
    converted = onnxmltools.convert_xgboost(
        model, initial_types=[("input", FloatTensorType([None, FEATURES]))], target_opset=15
    )
    return model, converted.SerializeToString()


def _log(kind: str, model: Any, folder: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if kind == "forest":
            import mlflow.sklearn

            mlflow.sklearn.save_model(
                model, str(folder), pip_requirements=["scikit-learn"], skops_trusted_types=["sklearn.tree._tree.Tree"]
            )
        else:
            import mlflow.xgboost

            mlflow.xgboost.save_model(model, str(folder), pip_requirements=["xgboost"], model_format="json")


def _register(folder: Path, rows: NDArray[np.float64], classes: tuple[str, ...]) -> str:
    home = Home(folder / "home")
    home.root.mkdir()
    now = SystemClock().now()
    ensure_keys(home.keys, home.trust_policy, now)
    features = tuple(
        Feature(name=f"x{column}", min=float(rows[:, column].min()), max=float(rows[:, column].max()))
        for column in range(FEATURES)
    )
    contract = ModelContract.build(features, Output(kind="classification", classes=classes))
    version = home.version("m", "1.0.0")
    shutil.copytree(folder / "mlflow", version / "files")
    shutil.copy(folder / "model.onnx", version / "files" / "model.onnx")
    (version / "files" / "contract.json").write_bytes(canonical_bytes(contract.document()))
    manifest = measure(version, model="m", version="1.0.0", run_id="bench")
    (version / "manifest.json").write_bytes(canonical_bytes(manifest.document()))
    said = provenance(manifest, run_id="bench", job_id="bench", builder="service:bench", code="bench", materials={})
    write_envelope(version, "provenance.json", PrivateKey.load(key_path(home.keys, "builder")).sign(said))
    predicate = AdmissionPredicate(
        decision=digest("bench"), environment="production", policy=digest("bench"), issued=now, expires=None
    )
    decider = PrivateKey.load(key_path(home.keys, "decider"))
    write_envelope(version, "promotion.json", decider.sign(promotion(manifest, predicate)))
    home.graphs.mkdir()
    graph = {
        "apiVersion": "maestro/v1",
        "kind": "InferenceGraph",
        "metadata": {"name": "m", "revision": 1},
        "root": "a",
        "nodes": {"a": {"type": "model", "model": "m", "version": "1.0.0", "digest": manifest.content_digest()}},
    }
    home.graph("m").write_text(json.dumps(graph))  # JSON is YAML
    credential = Credential.mint()
    caller = Principal(name="bench", kind="service", roles=(PrincipalRole.VIEWER,))
    write_verifiers(
        home.server_keys,
        [KeyVerifier(key_id=credential.key_id, secret_hash=credential.secret_hash, principal=caller)],
    )
    return credential.token
