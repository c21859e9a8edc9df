"""What lineage is told by: the facts a run left in MLflow, a version's row, a finished rollout. Each as an OpenLineage run."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from maestro.clients.openlineage import Dataset, LineageRun, run_uuid
from maestro.clients.registry import RunRecord
from maestro.core.model import format_time
from maestro.governance.lineage.assembly import DATA, ENDPOINT, FEATURES, VERSION
from maestro.governance.rollouts.store import Rollout
from maestro.governance.versions.store import ModelVersion

TRAINING_JOB, FEATURES_JOB, REGISTRATION_JOB, DEPLOYMENT_JOB = "training", "features", "registration", "deployment"


def training(run: RunRecord, facts: dict[str, Any] | None, at: datetime) -> list[LineageRun]:
    """Data → features → run. Without `lineage.json` from what MLflow knows of any run: its datasets, params and tags."""
    data = _data(run, facts)
    features = _features(facts)
    started, ended = run.started or at, run.ended or run.started or at
    model = (facts or {}).get("model", {})
    code = model.get("code") or {"git_commit": run.tags.get("mlflow.source.git.commit")}
    body = {
        "id": run.run_id,
        "name": run.name,
        "run_id": run.run_id,
        "algorithm": model.get("algorithm") or run.params.get("algorithm") or run.tags.get("maestro.algorithm"),
        "hyperparameters": model.get("hyperparameters") or dict(run.params),
        "training_time_s": model.get("training_time_s") or round((ended - started).total_seconds(), 3),
        "code": _code(code),
        "code_version": code,
        "metrics": {
            name: value for name, value in run.metrics.items() if value == value and abs(value) != float("inf")
        },
        "cost_usd_micros": (facts or {}).get("cost", {}).get("usd_micros"),
        "job": (facts or {}).get("job"),
        "status": run.status,
        "started": format_time(started),
    }
    runs = []
    if features is not None and data:
        runs.append(
            LineageRun(
                run_id=run_uuid(f"features:{features.name}:{data[0].name}:{data[0].version}"),
                job=f"{FEATURES_JOB}/{features.name.removeprefix(FEATURES)}",
                job_type="FEATURES",
                started=started,
                ended=started,
                inputs=tuple(data),
                outputs=(features,),
            )
        )
    runs.append(
        LineageRun(
            run_id=run_uuid(run.run_id),
            job=f"{TRAINING_JOB}/{run.tags.get('maestro.job_name') or run.name}",
            job_type="TRAINING",
            started=started,
            ended=ended,
            inputs=(features,) if features is not None else tuple(data),
            facets={"training": {key: value for key, value in body.items() if value is not None}},
        )
    )
    return runs


def registration(version: ModelVersion, run: LineageRun) -> LineageRun:
    """Run → version: the training run again, now with its output."""
    output = Dataset(
        name=f"{VERSION}{version.key}",
        version=version.version,
        facets={
            "version": {
                "digest": version.digest,
                "registry_version": version.registry_version,
                "contract_digest": version.contract_digest,
                "submitted_by": version.submitted_by,
                "registered_by": version.registered_by,
                "files": len(version.manifest.files),
                "run_id": version.run_id,
            }
        },
    )
    return run.model_copy(update={"outputs": (output,)})


def deployment(rollout: Rollout, version: ModelVersion, endpoint: str, environment: str, at: datetime) -> LineageRun:
    """Version → deployment, whatever came of it."""
    return LineageRun(
        run_id=run_uuid(f"rollout:{rollout.id}"),
        job=f"{DEPLOYMENT_JOB}/{rollout.model}",
        job_type="DEPLOYMENT",
        started=rollout.created_at,
        ended=rollout.finished_at or at,
        inputs=(Dataset(name=f"{VERSION}{version.key}", version=version.version),),
        outputs=(Dataset(name=f"{ENDPOINT}{rollout.model}", source=endpoint),),
        facets={
            "deployment": {
                "id": rollout.id,
                "name": f"{rollout.model} {environment}",
                "environment": environment,
                "endpoint": endpoint,
                "configuration": {
                    "graph_revision": rollout.graph_revision,
                    "policy": rollout.policy_digest,
                    "weight": rollout.weight,
                    "champion": rollout.champion,
                },
                "strategy": rollout.strategy,
                "verdict": rollout.status.value,
                "decision": rollout.last_decision,
            }
        },
        parent=(run_uuid(version.run_id), f"{TRAINING_JOB}/{version.model}"),
    )


def _data(run: RunRecord, facts: dict[str, Any] | None) -> list[Dataset]:
    if facts is not None and facts.get("data"):
        data = facts["data"]
        known = {
            "content": data.get("content"),
            "sample_count": data.get("sample_count"),
            "target": data.get("target"),
            "entity_keys": data.get("entity_keys"),
            "first_event": data.get("first_event"),
            "last_event": data.get("last_event"),
        }
        return [
            Dataset(
                name=f"{DATA}{data['dataset']}@{data['version']}",
                version=str(data["version"]),
                source=data.get("source"),
                columns={str(key): str(value) for key, value in (data.get("schema") or {}).items()},
                rows=data.get("rows"),
                facets={"data": {key: value for key, value in known.items() if value is not None}},
            )
        ]
    return [
        Dataset(name=f"{DATA}{item.name}@{item.digest}", version=item.digest, source=item.source_type or None)
        for item in run.datasets
    ]


def _features(facts: dict[str, Any] | None) -> Dataset | None:
    features = (facts or {}).get("features")
    if not features:
        return None
    return Dataset(
        name=f"{FEATURES}{features['service']}",
        version=features.get("fingerprint"),
        facets={
            "features": {
                "service": features["service"],
                "fingerprint": features.get("fingerprint"),
                "views": features.get("views", []),
                "features": features.get("features", []),
            }
        },
    )


def _code(code: dict[str, Any]) -> str | None:
    commit = code.get("git_commit")
    version = code.get("maestro")
    if not commit:
        return str(version) if version else None
    return f"{version}+{commit[:12]}" if version else str(commit[:12])
