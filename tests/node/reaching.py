"""Ways into the cluster from outside: forwarded ports, commands in pods, the API as its first operator."""

from __future__ import annotations

import base64
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx

from maestro.clients.api import ApiClient
from maestro.core.errors import Unreachable
from tests.cluster.platform_stage import kubectl, until


class Api(ApiClient):
    """The control plane's API with what tests ask it all the time."""

    def job(self, body: dict[str, Any], within_s: float = 300) -> dict[str, Any]:
        """A job once it has ended."""
        job = self.post("/ai/training/jobs/start", body)["id"]
        return self.ended(job, within_s)

    def ended(self, job: str, within_s: float = 300) -> dict[str, Any]:
        """The job once it has ended."""

        def ask() -> dict[str, Any] | None:
            try:
                found: dict[str, Any] = self.get(f"/ai/training/jobs/{job}")
            except Unreachable:
                return None  # 503: its database is away for a moment
            return None if found["status"] in {"queued", "running"} else found

        ended: dict[str, Any] = until(ask, f"job {job} has not ended", within_s)
        return ended


@contextmanager
def forwarded(namespace: str, target: str, port: int) -> Iterator[str]:
    """The address on this machine of a Service or pod, by `kubectl port-forward`."""
    process = subprocess.Popen(
        ["kubectl", "port-forward", "--namespace", namespace, target, f":{port}"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        line = process.stdout.readline()
        found = re.search(r"127\.0\.0\.1:(\d+)", line)
        assert found, line + process.stderr.read()
        yield f"http://127.0.0.1:{found[1]}"
    finally:
        process.kill()
        process.communicate()


def inside(namespace: str, target: str, *command: str, container: str = "") -> str:
    """What a command prints in a running pod."""
    chosen = ("--container", container) if container else ()
    return kubectl("exec", "--namespace", namespace, target, *chosen, "--", *command)


def key_of(who: str) -> str:
    """The API key that `maestro platform secrets` made for one of the first principals."""
    kept = kubectl("get", "secret", f"maestro-{who}-key", "-n", "ml-platform", "-o", "jsonpath={.data.token}")
    return base64.b64decode(kept).decode()


def run_of(run_id: str) -> dict[str, Any]:
    """A run, as the MLflow of the cluster has it."""
    with forwarded("ml-platform", "svc/mlflow", 5000) as url:
        answer = httpx.get(f"{url}/api/2.0/mlflow/runs/get", params={"run_id": run_id}, trust_env=False)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()["run"]
    return found
