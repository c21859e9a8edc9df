"""Full retraining at 02:00: search with cross-validation, train with what it found, register.

`maestro train retrain` does it all, beside Airflow or in a pod of its own. The number of the new version follows from the change of contract and metrics: governance raises major, minor or
patch when it registers the run. A task that is tried again sends the same key, so it goes on where the first try ended: nothing is searched or trained twice.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import maestro_platform as maestro
from airflow.sdk import Param, dag, get_current_context, task

_SETTINGS = ("model", "feature_service", "space", "objective", "n_trials", "n_jobs", "folds", "sampler", "pruner")
_FLAGS = {"feature_service": "--features"}


def words(given: dict[str, Any], key: str) -> list[str]:
    """The command of one night."""
    flags = [(_FLAGS.get(name, "--" + name.replace("_", "-")), str(given[name])) for name in _SETTINGS]
    return ["train", "retrain", *(word for flag in flags for word in flag), "--idempotency-key", key, "--json"]


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
        "space": Param("random_forest", type="string", description="search space, which names the kind of model"),
        "objective": Param("accuracy", type="string", description="metric to search for"),
        "n_trials": Param(20, type="integer", minimum=1, maximum=10_000),
        "n_jobs": Param(1, type="integer", minimum=1, maximum=16, description="trials at once"),
        "folds": Param(3, type="integer", minimum=2, maximum=10),
        "sampler": Param("tpe", type="string"),
        "pruner": Param("hyperband", type="string"),
    },
)
def nightly_retraining() -> None:
    """Search, train, register."""

    @task
    def retrain() -> dict[str, Any]:
        """The new version, the one before it, and which part of the number rose."""
        context = get_current_context()
        told = maestro.told_by_command(words(context["params"], maestro.key_of(context)))
        return {name: told[name] for name in ("model", "version", "before", "bump", "run_id")}

    if maestro.on_cluster():
        templates = {name: "{{ params." + name + " }}" for name in _SETTINGS}
        maestro.in_a_pod("retrain", words(templates, "airflow-{{ dag.dag_id }}/{{ run_id }}"))
    else:
        retrain()


nightly_retraining()
