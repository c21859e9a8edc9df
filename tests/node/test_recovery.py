"""What a restarted PostgreSQL costs, and how long a lost platform database takes to come back."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime

import pytest

from maestro.clients.kubernetes.objects import Cluster
from tests.cluster.platform_stage import kubectl, until
from tests.node.installation import Installation
from tests.node.reaching import Api, inside

pytestmark = [pytest.mark.node, pytest.mark.timeout(900)]

SLOW = "import time, os, json, pathlib; time.sleep(30); pathlib.Path(os.environ['MAESTRO_OUTPUT'], 'metrics.json').write_text(json.dumps({'done': 1}))"


def database(statement: str) -> str:
    """What the platform database answers."""
    command = (
        f'PGPASSWORD=$(cat /credentials/maestro-password) psql -h 127.0.0.1 -U maestro -d maestro -tAc "{statement}"'
    )
    return inside("ml-platform", "postgresql-0", "sh", "-c", command, container="postgresql").strip()


@pytest.mark.shows("B10", "L8", "L15", env="cluster")
def test_postgresql_restarted_while_a_job_runs_loses_nothing(node: Cluster, installed: Installation, api: Api) -> None:
    done = api.job({
        "name": f"before-{time.time_ns()}", "model_type": "command", "backend": "kubeflow", "framework": "tensorflow", "data": {"feature_service": "none"},
        "params": {"command": ["python", "-c", SLOW.replace("30", "0")]}, "resources": {"cpu": 0.2, "memory": "512Mi"},
    })  # fmt: skip
    assert done["status"] == "completed", done
    job = api.post("/ai/training/jobs/start", {
        "name": f"during-{time.time_ns()}", "model_type": "command", "backend": "kubeflow", "framework": "tensorflow",
        "data": {"feature_service": "none"}, "params": {"command": ["python", "-c", SLOW]}, "resources": {"cpu": 0.3, "memory": "768Mi"},
    })["id"]  # fmt: skip
    until(lambda: api.get(f"/ai/training/jobs/{job}")["status"] == "running", "it does not run", 60)
    began = time.monotonic()
    kubectl("delete", "pod", "-n", "ml-platform", "postgresql-0", "--grace-period=0", "--force")
    kubectl("wait", "-n", "ml-platform", "pod/postgresql-0", "--for=condition=Ready", "--timeout=110s")
    back = time.monotonic() - began
    ended = api.ended(job)
    assert ended["status"] == "completed", ended
    assert ended["attempt"] == 1
    assert api.get(f"/ai/training/jobs/{done['id']}")["status"] == "completed"
    print(json.dumps({"PostgreSQL back after s": round(back, 1)}))


@pytest.mark.shows("L9", "L10", env="cluster")
def test_the_platform_database_is_lost_and_restored_from_the_cronjobs_backup(
    node: Cluster, installed: Installation, api: Api
) -> None:
    kept = api.job({
        "name": f"kept-{time.time_ns()}", "model_type": "command", "backend": "kubeflow", "framework": "tensorflow", "data": {"feature_service": "none"},
        "params": {"command": ["python", "-c", "pass"]}, "resources": {"cpu": 0.2, "memory": "512Mi"},
    })  # fmt: skip
    backup = f"drill-{int(time.time())}"
    kubectl("create", "job", backup, "-n", "ml-platform", "--from=cronjob/platform-backup")
    kubectl("wait", "-n", "ml-platform", f"job/{backup}", "--for=condition=Complete", "--timeout=110s")
    told = json.loads(kubectl("logs", "-n", "ml-platform", f"job/{backup}", "-c", "backup"))
    rows = database("select count(*) from ai_training_jobs")
    lost_at = datetime.now(UTC)
    for name in ("control-plane-api", "control-plane-worker"):
        kubectl("scale", "-n", "ml-platform", f"deploy/{name}", "--replicas=0")
    kubectl(
        "wait",
        "-n",
        "ml-platform",
        "pod",
        "-l",
        "app.kubernetes.io/component=control-plane",
        "--for=delete",
        "--timeout=110s",
    )
    began = time.monotonic()
    database("drop schema public cascade; create schema public")
    assert database("select count(*) from information_schema.tables where table_schema = 'public'") == "0"
    kubectl("delete", "job", "platform-restore", "-n", "ml-platform", "--ignore-not-found")
    kubectl("create", "-f", "operations/restore-job.yaml")
    kubectl("wait", "-n", "ml-platform", "job/platform-restore", "--for=condition=Complete", "--timeout=110s")
    assert database("select count(*) from ai_training_jobs") == rows
    for name in ("control-plane-api", "control-plane-worker"):
        kubectl("scale", "-n", "ml-platform", f"deploy/{name}", "--replicas=1")
        kubectl("rollout", "status", "-n", "ml-platform", f"deploy/{name}", "--timeout=110s")
    rto = time.monotonic() - began
    rpo = (lost_at - datetime.fromisoformat(told["at"].replace("Z", "+00:00"))).total_seconds()
    assert rto < 15 * 60
    assert rpo < 3600
    assert kept["id"]
    print(json.dumps({"RPO s": round(rpo, 1), "RTO s": round(rto, 1), "bytes": told.get("bytes")}))
