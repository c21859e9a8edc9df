"""Search hyperparameters as a study of the platform."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import maestro_platform as maestro
from airflow.sdk import Param, dag, get_current_context, task


@dag(
    schedule=None,
    catchup=False,
    tags=["maestro", "tuning"],
    default_args={"retries": 2, "retry_delay": timedelta(seconds=10)},
    doc_md=__doc__,
    params={
        "study": Param("nightly", type="string", pattern="^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$"),
        "feature_service": Param("tumour_v1", type="string"),
        "space": Param("random_forest", type="string"),
        "n_trials": Param(20, type="integer", minimum=1, maximum=10_000),
        "sampler": Param("tpe", type="string"),
        "pruner": Param("hyperband", type="string"),
        "cost_weight": Param(0.0, type="number", minimum=0),
    },
)
def tune() -> None:
    """Start the study and tell what it found."""

    @task
    def start() -> str:
        """Queue the study; a second try finds the first one's."""
        context = get_current_context()
        asked = context["params"]
        request = {
            "name": asked["study"], "data": {"feature_service": asked["feature_service"]}, "space": asked["space"],
            "n_trials": asked["n_trials"], "sampler": asked["sampler"], "pruner": asked["pruner"], "cost_weight": asked["cost_weight"],
        }  # fmt: skip
        return maestro.start_study(request, maestro.key_of(context))

    @task
    def best(study_id: str) -> dict[str, Any]:
        """The best parameters."""
        return maestro.best_of_study(study_id, get_current_context()["params"]["space"])

    best(start())


tune()
