"""The first model of a home: what `make up` leaves running."""

from __future__ import annotations

from typing import Any

from maestro.lifecycle.demo.jobs import submit, wait_ended, wait_version
from maestro.lifecycle.demo.releases import approve, follow, start
from maestro.lifecycle.demo.stage import Stage
from maestro.lifecycle.demo.steps.train import JOBS
from maestro.training import feature_definitions


def put_first_model_into_production(stage: Stage) -> dict[str, Any]:
    """Apply the features, train the baseline, have it approved and roll it out; nothing happens when a version is served."""
    graphs = stage.server().get("/admin/graphs")
    served = next((graph for graph in graphs if graph["model"] == stage.model and graph.get("versions")), None)
    if served is None:
        sets = feature_definitions.apply(stage.place.features(), stage.home.data, progress=stage.progress)
        stage.progress.update(0.5, "filling the online store")
        stage.place.bring_online(sets, stage.progress)
        job = wait_ended(stage, [submit(stage, JOBS["baseline"])])[0]
        version = wait_version(stage, job["run_id"])
        approve(stage, version)
        follow(stage, start(stage, version), 60.0)
    else:
        version = served["versions"][0]
    return {
        "model": stage.model,
        "version": version["version"],
        "url": f"{stage.url('server')}/v2/models/{stage.model}",
        "predict": f"{stage.url('server')}/predict",
        "example": {"entities": [{"person_id": 7}]},
    }
