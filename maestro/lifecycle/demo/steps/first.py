"""The first model of a home: what `make up` leaves running."""

from __future__ import annotations

from typing import Any

from maestro.clients.feast import FeatureRepository
from maestro.lifecycle.demo.jobs import MODEL, submit, wait_ended, wait_version
from maestro.lifecycle.demo.releases import approve, follow, start
from maestro.lifecycle.demo.stage import Stage
from maestro.lifecycle.demo.steps.train import JOBS
from maestro.training import feature_definitions


def put_first_model_into_production(stage: Stage) -> dict[str, Any]:
    """Apply the features, train the baseline, have it approved and roll it out; nothing happens when a version is served."""
    graphs = stage.server().get("/admin/graphs")
    served = next((graph for graph in graphs if graph["model"] == MODEL and graph.get("versions")), None)
    if served is None:
        repository = FeatureRepository(stage.home.features)
        feature_definitions.apply(repository, stage.home.data, progress=stage.progress)
        stage.progress.update(0.5, "filling the online store")
        repository.materialize(feature_definitions.FIRST_EVENT, feature_definitions.LAST_EVENT)
        job = wait_ended(stage, [submit(stage, JOBS["baseline"])])[0]
        version = wait_version(stage, job["run_id"])
        approve(stage, version)
        follow(stage, start(stage, version), 60.0)
    else:
        version = served["versions"][0]
    return {
        "model": MODEL,
        "version": version["version"],
        "url": f"{stage.url('server')}/v2/models/{MODEL}",
        "predict": f"{stage.url('server')}/predict",
        "example": {"entities": [{"person_id": 7}]},
    }
