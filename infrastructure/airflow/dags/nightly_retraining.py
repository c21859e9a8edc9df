"""Full retraining at 02:00: search with cross-validation, train with what it found, register.

The number of the new version follows from the change of contract and metrics: governance raises major, minor or patch when it registers the run.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import maestro_platform as maestro
from airflow.sdk import Param, dag, get_current_context, task


@dag(
    schedule="0 2 * * *",
    catchup=False,
    max_active_runs=1,
    tags=["maestro", "training", "tuning"],
    default_args={"retries": 2, "retry_delay": timedelta(minutes=1)},
    doc_md=__doc__,
    params={
        "model": Param(
            "tumour", type="string", pattern="^[A-Za-z0-9][A-Za-z0-9_.-]{0,50}$", description="model to retrain"
        ),
        "feature_service": Param("tumour_v1", type="string"),
        "space": Param("random_forest", type="string"),
        "model_type": Param("classifier", type="string"),
        "n_trials": Param(20, type="integer", minimum=1, maximum=10_000),
        "folds": Param(3, type="integer", minimum=2, maximum=10),
    },
)
def nightly_retraining() -> None:
    """Search, train, register."""

    @task
    def search() -> str:
        """A study of its own for each night."""
        context = get_current_context()
        asked = context["params"]
        key = maestro.key_of(context)
        request = {
            "name": f"{asked['model']}-{key[-12:]}", "data": {"feature_service": asked["feature_service"]}, "space": asked["space"],
            "n_trials": asked["n_trials"], "folds": asked["folds"], "sampler": "tpe", "pruner": "hyperband",
        }  # fmt: skip
        return maestro.start_study(request, key)

    @task
    def best(study_id: str) -> dict[str, Any]:
        """The parameters to train with."""
        return maestro.best_of_study(study_id, get_current_context()["params"]["space"])

    @task
    def train(found: dict[str, Any]) -> str:
        """Queue the full training; a second try finds the first one's."""
        context = get_current_context()
        asked = context["params"]
        request = {
            "name": f"{asked['model']}-nightly", "model_type": asked["model_type"], "data": {"feature_service": asked["feature_service"]},
            "params": found, "register_as": asked["model"], "max_retries": 1,
        }  # fmt: skip
        return maestro.submit_job(request, maestro.key_of(context))

    @task
    def registered(job_id: str) -> str:
        """The new version's number."""
        run_id = maestro.wait_for_job(job_id)["run_id"]
        return str(maestro.version_of_run(get_current_context()["params"]["model"], run_id)["version"])

    registered(train(best(search())))


nightly_retraining()
