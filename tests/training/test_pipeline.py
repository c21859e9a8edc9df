"""The five steps on real data against a real MLflow server."""

from __future__ import annotations

import json
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from maestro.clients.home import Home
from maestro.clients.mlflow import Tracking
from maestro.core.contract import ModelContract
from maestro.core.errors import BadInput, MaestroError, Malformed, NotFound, Unreachable
from maestro.core.jobs import DataSpec
from maestro.core.seams import NoProgress
from maestro.training.backends import Attempt
from maestro.training.job import Outcome
from maestro.training.models import model_type
from maestro.training.pipeline import onnx
from maestro.training.pipeline.entities import entity_number
from maestro.training.pipeline.load import Loaded, load
from maestro.training.pipeline.preprocess import preprocess
from maestro.training.pipeline.run import run_pipeline
from maestro.training.pipeline.train import train
from tests.training.conftest import request_for


@pytest.fixture(autouse=True)
def _libraries_warn() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@pytest.fixture(scope="session")
def tumours(shared_home: Home) -> Loaded:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return load(DataSpec(feature_service="tumour_v1"), shared_home.features, shared_home.data)


def run(
    tracking: Tracking, loaded: Loaded, folder: Path, said: list[tuple[str, str]] | None = None, **fields: object
) -> Outcome:
    attempt = Attempt(
        job_id="job-1",
        attempt=1,
        fence=3,
        request=request_for("tumour_v1", **fields),
        submitted_by="human:ada",
        folder=folder,
    )
    say = (lambda text, level: said.append((text, level))) if said is not None else (lambda text, level: None)
    return run_pipeline(attempt, lambda: loaded, tracking, NoProgress(), say, time.monotonic(), lambda: (1.5, 2**28))


@pytest.mark.shows("A5", "A7", "B22", "D1", "D11", "D12", "D13", "L5", env="laptop")
def test_a_run_holds_everything_without_a_call_in_user_code(
    tracking: Tracking, tumours: Loaded, tmp_path: Path
) -> None:
    outcome = run(
        tracking,
        tumours,
        tmp_path,
        params={"algorithm": "random_forest", "n_estimators": 20},
        name="everything",
        tenant_id="t1",
    )
    assert outcome.missing == ()
    assert outcome.experiment == "t1/everything"
    assert outcome.metrics["f1"] > 0.9
    assert outcome.run_id is not None
    found = tracking.run(outcome.run_id)
    assert found.status == "FINISHED"
    assert found.params["n_estimators"] == "20"
    assert {"f1", "accuracy", "roc_auc", "cost_usd", "wall_seconds", "cpu_seconds"} <= set(found.metrics)
    assert (found.tags["maestro.job"], found.tags["maestro.fence"], found.tags["maestro.dataset"]) == (
        "job-1",
        "3",
        "tumour",
    )
    assert len(found.tags["mlflow.source.git.commit"]) == 40
    inputs = tracking.client.get_run(outcome.run_id).inputs
    assert inputs is not None
    assert [(item.dataset.name, item.dataset.digest) for item in inputs.dataset_inputs] == [
        ("tumour", tumours.info.version)
    ]
    facts = json.loads(_artifact(tracking, outcome.run_id, "lineage.json"))
    assert set(facts["data"]) >= {"dataset", "version", "source", "schema", "sample_count"}
    assert facts["data"]["sample_count"] == 292
    assert facts["features"]["views"] == ["tumour_measurements"]
    assert len(facts["features"]["features"]) == 30
    assert facts["model"]["algorithm"] == "random_forest"
    assert set(facts["model"]) >= {"hyperparameters", "training_time_s", "code"}
    assert facts["cost"]["usd_micros"] >= 0


@pytest.mark.shows("D1", env="laptop")
def test_the_model_folder_serves_without_anything_else(tracking: Tracking, tumours: Loaded, tmp_path: Path) -> None:
    outcome = run(tracking, tumours, tmp_path)
    assert outcome.model_uri is not None
    folder = _download(tracking, outcome.model_uri, tmp_path / "copy")
    assert {
        "MLmodel",
        "model.skops",
        "model.onnx",
        "contract.json",
        "trained_entities.npy",
        "input_example.json",
        "requirements.txt",
    } <= {path.name for path in folder.iterdir()}
    contract = ModelContract.model_validate_json((folder / "contract.json").read_text())
    assert contract.names == tumours.info.features
    assert contract.output.classes == ("0", "1")
    assert contract.feature_service is not None
    assert (contract.feature_service.name, contract.feature_service.fingerprint) == (
        "tumour_v1",
        tumours.info.fingerprint,
    )
    radius = contract.features[0]
    own = tumours.frame.loc[tumours.frame["split"] == "train", radius.name]
    assert (radius.min, radius.max, radius.nullable) == (own.min(), own.max(), False)
    entities = np.load(folder / "trained_entities.npy")
    assert entities.dtype == np.uint64
    assert (np.diff(entities.astype("float64")) >= 0).all()
    split = tumours.frame.set_index("patient_id")["split"]
    for patient, side in split.head(60).items():
        assert (np.uint64(entity_number(patient)) in entities) == (side != "traffic")
    import mlflow.sklearn
    import onnxruntime

    model = mlflow.sklearn.load_model(str(folder))
    rows = tumours.frame.loc[split.to_numpy() == "traffic", list(contract.names)]
    session = onnxruntime.InferenceSession(str(folder / "model.onnx"), providers=["CPUExecutionProvider"])
    entry = session.get_inputs()[0]
    kind = {"tensor(double)": np.float64, "tensor(float)": np.float32}[entry.type]
    labels = session.run(None, {entry.name: rows.to_numpy(dtype=kind)})[0]
    assert (labels == model.predict(rows)).all()


@pytest.mark.shows("D18", env="laptop")
def test_when_the_model_cannot_be_logged_the_rest_is(mlflow_url: str, tumours: Loaded, tmp_path: Path) -> None:
    (tmp_path / "occupied").write_text("")
    tracking = Tracking(f"sqlite:///{tmp_path / 'mlflow.db'}", tmp_path / "occupied" / "artifacts")
    said: list[tuple[str, str]] = []
    outcome = run(tracking, tumours, tmp_path, said, params={"algorithm": "logistic_regression"})
    assert outcome.model_uri is None
    assert any(item.startswith("model: ") for item in outcome.missing)
    assert any(level == "error" and text.startswith("model was not logged") for text, level in said)
    assert outcome.run_id is not None
    found = tracking.run(outcome.run_id)
    assert found.status == "FINISHED"
    assert found.metrics["f1"] is not None
    assert found.params["algorithm"] == "logistic_regression"


def test_a_regressor_and_every_algorithm_train(tumours: Loaded) -> None:
    prepared = preprocess(tumours)
    for kind, algorithms in {
        "classifier": ("logistic_regression", "random_forest", "gradient_boosting", "hist_gradient_boosting"),
        "regressor": ("ridge", "random_forest", "gradient_boosting", "hist_gradient_boosting"),
    }.items():
        model = model_type(kind)
        for algorithm in algorithms:
            size = (
                {}
                if algorithm in {"logistic_regression", "ridge"}
                else {"max_iter" if "hist" in algorithm else "n_estimators": 5}
            )
            trained = train(model, {"algorithm": algorithm, **size}, prepared)
            metrics = model.metrics(trained.model, prepared.holdout, prepared.holdout_target)
            assert metrics[model.target_metric] > 0
            assert trained.algorithm == algorithm


def test_the_same_seed_gives_the_same_model(tumours: Loaded) -> None:
    prepared = preprocess(tumours)
    first, second, other = (
        train(model_type("classifier"), {"n_estimators": 10}, prepared, seed=seed).model.predict_proba(prepared.holdout)
        for seed in (1, 1, 2)
    )
    assert (first == second).all()
    assert (first != other).any()


def test_onnx_is_left_out_when_its_answers_differ(
    tumours: Loaded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared = preprocess(tumours)
    model = train(model_type("classifier"), {"n_estimators": 5}, prepared).model
    assert onnx.export(tmp_path / "good.onnx", model, prepared.holdout) is None
    assert (tmp_path / "good.onnx").exists()
    monkeypatch.setattr(onnx, "TOLERANCE", -1.0)
    reason = onnx.export(tmp_path / "bad.onnx", model, prepared.holdout)
    assert reason is not None
    assert reason.startswith("no ONNX: as float64: 0 of 116 labels differ")
    assert not (tmp_path / "bad.onnx").exists()


@pytest.mark.shows("A8", env="laptop")
def test_the_split_is_honoured_or_made_by_entity(tumours: Loaded) -> None:
    prepared = preprocess(tumours)
    assert (len(prepared.train), len(prepared.holdout)) == (292, 116)
    frame = pd.concat([tumours.frame.drop(columns="split")] * 2, ignore_index=True)
    again = preprocess(Loaded(frame, tumours.info), test_size=0.25)
    assert len(again.train) + len(again.holdout) == 2 * 569
    assert 0.18 < len(again.holdout) / 1138 < 0.32
    pairs = set(map(tuple, again.train.to_numpy())) & set(map(tuple, again.holdout.to_numpy()))
    assert not pairs
    scaled = train(model_type("classifier"), {"algorithm": "logistic_regression"}, prepared).model
    assert [name for name, _ in scaled.steps] == ["scale", "model"]
    assert np.allclose(scaled.named_steps["scale"].mean_, prepared.train.mean())


def test_missing_values_are_borne_and_declared(tumours: Loaded) -> None:
    frame = tumours.frame.copy()
    frame.loc[frame.index[:100], "mean_radius"] = np.nan
    prepared = preprocess(Loaded(frame, tumours.info))
    assert [feature.name for feature in prepared.features if feature.nullable] == ["mean_radius"]
    model = train(model_type("classifier"), {"n_estimators": 5}, prepared).model
    assert len(model.predict(prepared.holdout)) == len(prepared.holdout)


@pytest.mark.shows("A7", env="laptop")
def test_features_from_a_file(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"shop_id": range(80), "a": rng.normal(size=80), "b": rng.normal(size=80)})
    frame["sold"] = (frame["a"] > 0).astype(int)
    frame.to_parquet(tmp_path / "shops.parquet")
    loaded = load(
        DataSpec(feature_service="file", entities=str(tmp_path / "shops.parquet"), target="sold"), tmp_path, tmp_path
    )
    assert (loaded.info.features, loaded.info.entity_keys) == (("a", "b"), ("shop_id",))
    prepared = preprocess(loaded)
    model = train(model_type("classifier"), {"algorithm": "logistic_regression"}, prepared).model
    assert model.score(prepared.holdout, prepared.holdout_target) > 0.8


def _broken(tmp_path: Path) -> str:
    path = tmp_path / "broken.parquet"
    path.write_bytes(b"PAR1 not really")
    return str(path)


@pytest.mark.parametrize(
    ("spec", "kind", "field", "words"),
    [
        ({"feature_service": "cats_v1"}, NotFound, "data.feature_service", "known:"),
        ({"feature_service": "tumour_v1", "target": "colour"}, BadInput, "data.target", "it has patient_id"),
        ({"feature_service": "tumour_v1", "entities": "BROKEN"}, Malformed, "data.entities", "Parquet"),
        ({"feature_service": "tumour_v1", "entities": "/nowhere.parquet"}, NotFound, "data.entities", "path"),
        ({"feature_service": "tumour_v1", "from": "2030-01-01"}, BadInput, "data.from", "widen"),
        ({"feature_service": "tumour_v1", "from": "2026-05-01", "to": "2026-04-01"}, BadInput, "data.to", "later"),
        ({"feature_service": "file"}, BadInput, "data.entities", "Parquet file"),
    ],
)
def test_wrong_data_name_the_field_and_the_remedy(
    spec: dict[str, str], kind: type[MaestroError], field: str, words: str, shared_home: Home, tmp_path: Path
) -> None:
    spec = {key: _broken(tmp_path) if value == "BROKEN" else value for key, value in spec.items()}
    with pytest.raises(kind) as error:
        load(DataSpec.model_validate(spec), shared_home.features, shared_home.data)
    assert error.value.field == field
    assert words in error.value.remedy


@pytest.mark.parametrize(
    ("params", "field"),
    [
        ({"algorithm": "magic"}, "params.algorithm"),
        ({"n_trees": 5}, "params.n_trees"),
        ({"n_estimators": -1}, "params.n_estimators"),
        ({"n_estimators": "many"}, "params.n_estimators"),
        ({"seed": "x"}, "params.seed"),
    ],
)
def test_wrong_parameters_name_themselves(
    params: dict[str, object], field: str, tracking: Tracking, tumours: Loaded, tmp_path: Path
) -> None:
    with pytest.raises(BadInput) as error:
        run(tracking, tumours, tmp_path, params=params, name="wrong")
    assert error.value.field == field
    assert error.value.remedy


def test_a_target_that_cannot_be_learned_is_refused(tumours: Loaded) -> None:
    constant = tumours.frame.assign(benign=1)
    with pytest.raises(BadInput, match="1 distinct values") as error:
        train(model_type("classifier"), {}, preprocess(Loaded(constant, tumours.info)))
    assert error.value.field == "data.target"
    text = tumours.frame.assign(mean_radius="wide")
    with pytest.raises(BadInput, match="'mean_radius'"):
        preprocess(Loaded(text, tumours.info))


def test_mlflow_that_is_not_there_is_named_within_seconds(tumours: Loaded, tmp_path: Path) -> None:
    began = time.monotonic()
    with pytest.raises(Unreachable, match=r"MLflow at http://127\.0\.0\.1:9 does not answer") as error:
        run(Tracking("http://127.0.0.1:9"), tumours, tmp_path)
    assert time.monotonic() - began < 10
    assert "make up" in error.value.remedy


def test_a_run_that_does_not_exist_is_not_found(tracking: Tracking) -> None:
    with pytest.raises(NotFound) as error:
        tracking.run("0" * 32)
    assert error.value.field == "run_id"


def test_a_failed_run_is_closed_as_failed(tracking: Tracking, tumours: Loaded, tmp_path: Path) -> None:
    with pytest.raises(BadInput):
        run(tracking, tumours, tmp_path, params={"n_trees": 5}, name="closes")
    experiment = tracking.experiments("closes")[0]
    assert [item.status for item in tracking.runs([experiment.id])] == ["FAILED"]


def _artifact(tracking: Tracking, run_id: str, path: str) -> str:
    import mlflow.artifacts

    _point(tracking)
    return str(mlflow.artifacts.load_text(f"runs:/{run_id}/{path}"))


def _download(tracking: Tracking, uri: str, folder: Path) -> Path:
    import mlflow.artifacts

    _point(tracking)
    return Path(mlflow.artifacts.download_artifacts(artifact_uri=uri, dst_path=str(folder)))


def _point(tracking: Tracking) -> None:
    import mlflow

    mlflow.set_tracking_uri(tracking.url)
