"""Train a model as a job, judge its holdout metric, and see that it became a version."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import maestro_platform as maestro
from airflow.sdk import Param, dag, get_current_context, task

RETRY: dict[str, Any] = {"retries": 2, "retry_delay": timedelta(seconds=10)}


@dag(
    schedule=None,
    catchup=False,
    tags=["maestro", "training"],
    default_args=RETRY,
    doc_md=__doc__,
    params={
        "name": Param(
            "churn", type="string", pattern="^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$", description="job and experiment"
        ),
        "model_type": Param("classifier", type="string"),
        "feature_service": Param("tumour_v1", type="string"),
        "params": Param({}, type="object", description="of the model"),
        "workers": Param(1, type="integer", minimum=1, maximum=64),
        "register_as": Param("tumour", type="string", description="model to register the result as"),
        "metric": Param("f1", type="string", description="holdout metric to judge"),
        "minimum": Param(0.5, type="number", description="the least that is good enough"),
    },
)
def train_evaluate_register() -> None:
    """Submit, wait, judge, register."""

    @task
    def submit() -> str:
        """Queue the job; a second try finds the first one's."""
        context = get_current_context()
        asked = context["params"]
        request = {
            "name": asked["name"], "model_type": asked["model_type"], "data": {"feature_service": asked["feature_service"]},
            "params": asked["params"], "workers": asked["workers"], "register_as": asked["register_as"],
        }  # fmt: skip
        return maestro.submit_job(request, maestro.key_of(context))

    @task
    def wait(job_id: str) -> dict[str, Any]:
        """The job's result."""
        job = maestro.wait_for_job(job_id)
        return {"run_id": job["run_id"], "metrics": job["result"]["metrics"], "cost_usd_micros": job["cost_usd_micros"]}

    @task(retries=0)
    def judge(result: dict[str, Any]) -> str:
        """Fail when the metric is not good enough."""
        asked = get_current_context()["params"]
        value = result["metrics"].get(asked["metric"])
        if value is None:
            raise ValueError(
                f"the job has no metric {asked['metric']!r}; it has {', '.join(sorted(result['metrics']))}"
            )
        if value < asked["minimum"]:
            raise ValueError(f"{asked['metric']} is {value:.4f}, below {asked['minimum']}")
        return str(result["run_id"])

    @task
    def registered(run: str) -> str:
        """The version's number."""
        return str(maestro.version_of_run(get_current_context()["params"]["register_as"], run)["version"])

    registered(judge(wait(submit())))


train_evaluate_register()
