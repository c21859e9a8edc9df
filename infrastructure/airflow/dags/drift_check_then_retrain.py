"""Every hour: compare what arrives with what was trained on, and retrain when it has drifted.

`maestro drift run` ends with 0 when nothing drifted and with 1 when something did; on the cluster it runs in a pod of its own.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import maestro_platform as maestro
from airflow.sdk import Param, dag, get_current_context, task


@dag(
    schedule="@hourly",
    catchup=False,
    max_active_runs=1,
    tags=["maestro", "monitoring", "training"],
    default_args={"retries": 2, "retry_delay": timedelta(seconds=30)},
    doc_md=__doc__,
    params={
        "reference_data": Param("reference.parquet", type="string"),
        "current_data": Param("current.parquet", type="string"),
        "drift_threshold": Param(0.05, type="number", minimum=0, maximum=1),
        "alert_threshold": Param(0.3, type="number", minimum=0, maximum=1),
        "model": Param("tumour", type="string"),
        "model_type": Param("classifier", type="string"),
        "feature_service": Param("tumour_v1", type="string"),
        "params": Param({}, type="object"),
    },
)
def drift_check_then_retrain() -> None:
    """Check, and retrain where the check says drift."""
    words = [
        "drift", "run", "--reference-data", "{{ params.reference_data }}", "--current-data", "{{ params.current_data }}",
        "--drift-threshold", "{{ params.drift_threshold }}", "--alert-threshold", "{{ params.alert_threshold }}",
    ]  # fmt: skip

    @task.short_circuit
    def drifted() -> bool:
        """Go on only when something drifted."""
        asked = get_current_context()["params"]
        arguments = [
            "drift", "run", "--reference-data", asked["reference_data"], "--current-data", asked["current_data"],
            "--drift-threshold", str(asked["drift_threshold"]), "--alert-threshold", str(asked["alert_threshold"]),
        ]  # fmt: skip
        return maestro.run_command(arguments, fine=(0, 1)) == 1

    @task(trigger_rule="none_failed_min_one_success" if not maestro.on_cluster() else "all_skipped")
    def retrain() -> str:
        """Queue the training; a second try finds the first one's."""
        context = get_current_context()
        asked = context["params"]
        request = {
            "name": f"{asked['model']}-drift", "model_type": asked["model_type"], "data": {"feature_service": asked["feature_service"]},
            "params": asked["params"], "register_as": asked["model"], "priority": "high",
        }  # fmt: skip
        return maestro.submit_job(request, maestro.key_of(context))

    @task
    def registered(job_id: str) -> str:
        """The new version's number."""
        run_id = maestro.wait_for_job(job_id)["run_id"]
        return str(maestro.version_of_run(get_current_context()["params"]["model"], run_id)["version"])

    # a pod tells drift by exit status 1, which skips its task: then, and only then, the training runs
    check: Any = maestro.in_a_pod("drifted", words, skipped_on_1=True) if maestro.on_cluster() else drifted()
    job = retrain()
    check >> job
    registered(job)


drift_check_then_retrain()
