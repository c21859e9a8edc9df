"""What the DAGs share: calls of Maestro's REST API, and commands that run here or in a pod.

A task that Airflow runs again sends the same Idempotency-Key, which is made of the DAG, the run and the task and not of the try: so a job is submitted once.
Needs `MAESTRO_API_URL` and `MAESTRO_API_KEY` in the environment of the workers. `MAESTRO_AIRFLOW_IMAGE` makes commands run in a pod of that image in `MAESTRO_AIRFLOW_NAMESPACE`; without it
they run beside Airflow, by the program that `MAESTRO_COMMAND` names (`maestro`). A pod takes its key from the Secret that `MAESTRO_AIRFLOW_SECRET` names.
"""

from __future__ import annotations

import hashlib
import json
import os
import shlex
import subprocess
import time
from typing import Any

import httpx

ENDED = frozenset({"completed", "failed", "cancelled"})


class ApiRefusedError(RuntimeError):
    """The API refused a call; `status` is the HTTP status."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


def key_of(context: dict[str, Any]) -> str:
    """The idempotency key of a task in a run: every try of it has the same."""
    instance = context["ti"]
    text = f"{instance.dag_id}/{instance.run_id}/{instance.task_id}/{instance.map_index}"
    return "airflow-" + hashlib.sha256(text.encode()).hexdigest()[:40]


def call(method: str, path: str, *, body: Any = None, key: str | None = None, tries: int = 5, **params: Any) -> Any:
    """The JSON answer of the API; a connection that breaks, 429 and 503 are tried again, which the key makes safe.

    Raises:
        RuntimeError: the API refuses, in its own words, or stays away.
    """
    url, token = os.environ.get("MAESTRO_API_URL"), os.environ.get("MAESTRO_API_KEY")
    if not url or not token:
        raise RuntimeError("set MAESTRO_API_URL and MAESTRO_API_KEY for Airflow's workers")
    headers = {"Authorization": f"Bearer {token}"} | ({"Idempotency-Key": key} if key else {})
    wanted = {name: value for name, value in params.items() if value is not None}
    last = ""
    for attempt in range(tries):
        if attempt:
            time.sleep(min(0.5 * 2**attempt, 10.0))
        try:
            response = httpx.request(
                method, url.rstrip("/") + path, json=body, params=wanted, headers=headers, timeout=30.0
            )
        except httpx.HTTPError as error:
            last = f"{type(error).__name__}: {error}"
            continue
        if response.status_code in {429, 503}:
            last = response.text[:500]
            continue
        if response.is_success:
            return response.json() if response.content else None
        raise ApiRefusedError(response.status_code, f"{method} {path}: {response.status_code} {response.text[:1000]}")
    raise RuntimeError(f"{method} {path}: no answer after {tries} tries: {last}")


def wait_for(path: str, *, every_s: float = 2.0, within_s: float = 6 * 3600.0) -> dict[str, Any]:
    """Read `path` until its `status` is final.

    Raises:
        RuntimeError: it did not complete; the API's reason is given.
    """
    deadline = time.monotonic() + within_s
    while True:
        found: dict[str, Any] = call("GET", path)
        if found["status"] in ENDED:
            break
        if time.monotonic() > deadline:
            raise RuntimeError(f"{path} is still {found['status']} after {within_s:g} s")
        time.sleep(every_s)
    if found["status"] != "completed":
        raise RuntimeError(f"{path} {found['status']}: {found.get('error') or found.get('message')}")
    return found


def submit_job(request: dict[str, Any], key: str) -> str:
    """Queue a training job; its id."""
    return str(call("POST", "/ai/training/jobs/start", body=request, key=key)["id"])


def wait_for_job(job_id: str) -> dict[str, Any]:
    """The job once it has completed."""
    return wait_for(f"/ai/training/jobs/{job_id}")


def start_study(request: dict[str, Any], key: str) -> str:
    """Queue a search; its id."""
    return str(call("POST", "/ai/hpo/studies/start", body=request, key=key)["id"])


def best_of_study(study_id: str, space: str) -> dict[str, Any]:
    """The parameters that a search found best, with those that its space fixes, once it has completed."""
    wait_for(f"/ai/hpo/studies/{study_id}")
    best = call("GET", f"/ai/hpo/studies/{study_id}/best")["best"]
    fixed = call("GET", "/ai/hpo/spaces").get(space, {}).get("fixed", {})
    return {**fixed, **best["params"]}


def version_of_run(model: str, run_id: str, *, within_s: float = 300.0) -> dict[str, Any]:
    """The version that governance registered of a run: it follows the job within seconds.

    Raises:
        RuntimeError: there is none yet.
    """
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        try:
            known = call("GET", "/versions", model=model, page_size=50)["items"]
        except ApiRefusedError as error:
            if error.status != 404:
                raise
            # the model's first version is still to come
            known = []
        for version in known:
            if version.get("run_id") == run_id:
                return dict(version)
        time.sleep(2.0)
    raise RuntimeError(f"no version of {model} was registered from run {run_id}")


def run_command(arguments: list[str], *, fine: tuple[int, ...] = (0,)) -> int:
    """Run Maestro's command beside Airflow; its exit status.

    Raises:
        RuntimeError: the status is not among those that are fine.
    """
    return _run(arguments, fine).returncode


def told_by_command(arguments: list[str]) -> dict[str, Any]:
    """The document of a command with `--json` that runs beside Airflow.

    Raises:
        RuntimeError: it failed.
    """
    return dict(json.loads(_run(arguments, (0,)).stdout))


def _run(arguments: list[str], fine: tuple[int, ...]) -> subprocess.CompletedProcess[str]:
    words = [*shlex.split(os.environ.get("MAESTRO_COMMAND", "maestro")), *arguments]
    done = subprocess.run(words, check=False, capture_output=True, text=True)
    print(done.stdout[-20_000:], done.stderr[-5_000:], sep="\n")
    if done.returncode not in fine:
        # with --json a failure is told on standard output
        said = (done.stderr.strip() or done.stdout.strip())[-1000:]
        raise RuntimeError(f"{' '.join(words)} ended with {done.returncode}: {said}")
    return done


def in_a_pod(task_id: str, arguments: list[str], *, skipped_on_1: bool = False, **more: Any) -> Any:
    """The same command as a task in a pod, which is given the API's address and, from the Secret that `MAESTRO_AIRFLOW_SECRET` names, its key (`api-key`).

    The pod's exit status is all that it tells. `skipped_on_1`: status 1, a negative verdict, skips the task; otherwise it fails it.
    """
    from airflow.providers.cncf.kubernetes.operators.pod import KubernetesPodOperator
    from airflow.providers.cncf.kubernetes.secret import Secret
    from kubernetes.client.models import V1ResourceRequirements

    addresses = ("MAESTRO_API_URL", "MLFLOW_TRACKING_URI")
    key = os.environ.get("MAESTRO_AIRFLOW_SECRET")
    return KubernetesPodOperator(
        task_id=task_id, name=task_id.replace("_", "-"), namespace=os.environ.get("MAESTRO_AIRFLOW_NAMESPACE", "ml-training"),
        image=os.environ["MAESTRO_AIRFLOW_IMAGE"], cmds=["maestro"], arguments=arguments, in_cluster=True,
        skip_on_exit_code=[1] if skipped_on_1 else None, on_finish_action="delete_pod", startup_timeout_seconds=120,
        env_vars={name: os.environ[name] for name in addresses if name in os.environ},
        secrets=[Secret("env", "MAESTRO_API_KEY", key, "api-key")] if key else [],
        # by the first its network policy knows it
        labels={"app.kubernetes.io/name": "airflow-command", "app.kubernetes.io/part-of": "maestro-ml"},
        automount_service_account_token=False,
        container_resources=V1ResourceRequirements(
            requests={"cpu": "250m", "memory": "1Gi"}, limits={"cpu": "1", "memory": "2Gi"}
        ),
        security_context={"runAsNonRoot": True, "runAsUser": 10001, "seccompProfile": {"type": "RuntimeDefault"}},
        container_security_context={"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}, **more,
    )  # fmt: skip


def on_cluster() -> bool:
    """Whether commands run in pods."""
    return bool(os.environ.get("MAESTRO_AIRFLOW_IMAGE"))
