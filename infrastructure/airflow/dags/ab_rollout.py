"""Roll a version out beside the champion, after a person has agreed in Airflow.

The agreement here starts the rollout; it does not replace the platform's own approvals, which the policy asks for and Maestro checks. Traffic is moved by Maestro's statistics,
never by this DAG.
"""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Any

import maestro_platform as maestro
from airflow.providers.standard.operators.hitl import ApprovalOperator
from airflow.sdk import Param, dag, get_current_context, task

_OVER = frozenset({"promoted", "rolled_back", "undecided_at_budget", "failed"})


@dag(
    schedule=None,
    catchup=False,
    tags=["maestro", "rollout"],
    default_args={"retries": 2, "retry_delay": timedelta(seconds=10)},
    doc_md=__doc__,
    params={
        "model": Param("tumour", type="string"),
        "version": Param("1.0.0", type="string", pattern=r"^[0-9A-Za-z][0-9A-Za-z.+-]{0,62}$"),
        "policy": Param({}, type="object", description="RolloutPolicy of the platform"),
        "wait_s": Param(3600, type="integer", minimum=0, description="how long to follow the rollout"),
    },
)
def ab_rollout() -> None:
    """Describe, ask, start, follow."""

    @task
    def describe() -> str:
        """The version that is asked about; fails where there is none."""
        asked = get_current_context()["params"]
        found = maestro.call("GET", f"/versions/{asked['model']}/{asked['version']}")
        return f"{asked['model']} {found['version']} ({found.get('digest')})"

    approve = ApprovalOperator(
        task_id="approve",
        subject="Roll out {{ params.model }} {{ params.version }}?",
        body="{{ ti.xcom_pull(task_ids='describe') }} gets traffic beside the champion, by the policy of this run.",
        fail_on_reject=True,
        retries=0,
    )

    @task
    def start() -> str:
        """Start the rollout; a second try finds the first one's."""
        asked = get_current_context()["params"]
        for item in maestro.call("GET", "/rollouts", model=asked["model"])["items"]:
            rollout: dict[str, Any] = item.get("rollout", item)
            if rollout["challenger"] == asked["version"] and rollout["status"] not in _OVER:
                return str(rollout["id"])
        body = {"model": asked["model"], "version": asked["version"], "policy": asked["policy"]}
        return str(maestro.call("POST", "/rollouts", body=body, tries=1)["rollout"]["id"])

    @task
    def follow(rollout_id: str) -> str:
        """How it ended, or where it stands when the time is over."""
        deadline = time.monotonic() + get_current_context()["params"]["wait_s"]
        while True:
            status = str(maestro.call("GET", f"/rollouts/{rollout_id}")["rollout"]["status"])
            if status in _OVER or time.monotonic() > deadline:
                return status
            time.sleep(2.0)

    begun = start()
    describe() >> approve >> begun
    follow(begun)


ab_rollout()
