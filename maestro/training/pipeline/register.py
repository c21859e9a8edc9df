"""Step 5, register: log everything to MLflow, with no call in the user's code.

Parameters, metrics, data set and lineage are logged first. If the model itself cannot be logged, the rest stays and the outcome says what is missing.
The version in the registry is made later, by governance, from the event that publishes the attempt.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from maestro.clients.mlflow import Tracking
from maestro.clients.mlflow_model import save_sklearn
from maestro.core.contract import FeatureServiceRef, ModelContract
from maestro.core.errors import Unreachable
from maestro.training.models import ModelType
from maestro.training.pipeline import onnx
from maestro.training.pipeline.load import FILE_SERVICE, FrameInfo
from maestro.training.pipeline.origin import lineage_tags, requirements
from maestro.training.pipeline.preprocess import Prepared
from maestro.training.pipeline.train import Trained


def model_contract(info: FrameInfo, prepared: Prepared, kind: ModelType, trained: Trained) -> ModelContract:
    """What the model accepts and answers, with the ranges that training saw and what is done outside them."""
    service = None
    if info.service != FILE_SERVICE and info.fingerprint is not None:
        service = FeatureServiceRef(name=info.service, fingerprint=info.fingerprint)
    return ModelContract.build(
        prepared.features,
        kind.output(trained.model),
        feature_service=service,
        entity_keys=info.entity_keys,
        on_out_of_range=prepared.on_out_of_range,
    )


def register(
    tracking: Tracking,
    *,
    run_id: str,
    experiment_id: str,
    kind: ModelType,
    info: FrameInfo,
    prepared: Prepared,
    trained: Trained,
    metrics: dict[str, float],
    facts: dict[str, Any],
    folder: Path,
    say: Callable[[str, str], None],
) -> tuple[str | None, tuple[str, ...]]:
    """Log the run.

    Args:
        tracking: MLflow.
        run_id: the attempt's run, open.
        experiment_id: of the run.
        kind: the kind of model.
        info: where the frame came from.
        prepared: both sides of the split.
        trained: the fitted model.
        metrics: of the holdout.
        facts: lineage.
        folder: where the model folder is built; the attempt's own.
        say: given a line and its level.

    Returns:
        The model's address, None when it could not be logged, and what is missing, in words.

    Raises:
        Unreachable: MLflow is gone.
    """
    tracking.log(
        run_id, params=trained.params | {"algorithm": trained.algorithm}, metrics=metrics, tags=lineage_tags(facts)
    )
    schema = {**dict.fromkeys(info.features, "double"), info.target: "long"}
    for step, epoch in enumerate(trained.history, start=1):
        tracking.log(run_id, metrics=epoch, step=step)
    tracking.log_dataset(
        run_id, name=info.dataset, digest=info.version, rows=info.rows, schema=schema,
        source={"source": info.source, "version": info.version, "content": info.content, "feature_service": info.service},
    )  # fmt: skip
    missing: list[str] = []
    attempt_to_log(
        "lineage", missing, say, lambda: tracking.log_text(run_id, json.dumps(facts, indent=2), "lineage.json")
    )
    attempt_to_log(
        "environment",
        missing,
        say,
        lambda: tracking.log_text(
            run_id, "\n".join(requirements(trained.model)) + "\n", "environment/requirements.txt"
        ),
    )
    address: list[str] = []

    def log_model() -> None:
        address.append(
            _log_model(tracking, run_id, experiment_id, kind, info, prepared, trained, metrics, folder, missing, say)
        )

    attempt_to_log("model", missing, say, log_model)
    return (address[0] if address else None), tuple(missing)


def attempt_to_log(what: str, missing: list[str], say: Callable[[str, str], None], action: Callable[[], None]) -> None:
    """Do one part of logging; if it fails the rest goes on and `missing` says what is not there.

    Raises:
        Unreachable: MLflow itself is gone.
    """
    try:
        action()
    except Unreachable as error:
        if error.extra.get("component") == "mlflow":
            raise
        missing.append(f"{what}: {error.detail}")
        say(f"{what} was not logged: {error.detail}", "error")
    except Exception as error:  # noqa: BLE001 - whatever a model or an artifact store raises, the rest of the run is kept
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        missing.append(f"{what}: {reason}")
        say(f"{what} was not logged: {reason}", "error")


def _log_model(
    tracking: Tracking,
    run_id: str,
    experiment_id: str,
    kind: ModelType,
    info: FrameInfo,
    prepared: Prepared,
    trained: Trained,
    metrics: dict[str, float],
    folder: Path,
    missing: list[str],
    say: Callable[[str, str], None],
) -> str:
    model_id = tracking.create_model(
        run_id,
        experiment_id,
        "model",
        tags={"maestro.feature_service": info.service},
        params=trained.params,
        kind=kind.name,
    )
    try:
        path = folder / "model"
        sample = prepared.train.head(5)
        save_sklearn(
            path, trained.model, inputs=sample, outputs=trained.model.predict(sample), run_id=run_id, model_id=model_id,
            requirements=requirements(trained.model),
        )  # fmt: skip
        contract = model_contract(info, prepared, kind, trained)
        (path / "contract.json").write_text(json.dumps(contract.document(), indent=2) + "\n")
        if len(prepared.entities):
            np.save(path / "trained_entities.npy", prepared.entities)
        absent = onnx.export(path / "model.onnx", trained.model, prepared.holdout)
        if absent is not None:
            missing.append(absent)
            say(absent, "warning")
        return tracking.publish_model(run_id, model_id, path)
    except Exception:
        _discard(tracking, model_id, say)
        raise


def _discard(tracking: Tracking, model_id: str, say: Callable[[str, str], None]) -> None:
    try:
        tracking.discard_model(model_id)
    except Exception as error:  # noqa: BLE001 - the first failure is the one to report
        say(f"the failed model {model_id} could not be marked: {error}", "warning")
