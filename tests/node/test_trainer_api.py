"""A TrainJob on the node: our back end submits it with our runtime, the real Trainer and JobSet make its pods, and they train together."""

from __future__ import annotations

import json
import re
import secrets
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from maestro.clients.kubernetes.objects import Cluster, Ref
from maestro.core.cluster import ClusterTraining
from maestro.core.jobs import Resources
from maestro.training.backends._base import Attempt, BackendStatus, Phase
from maestro.training.backends.cluster import ClusterBackend
from maestro.training.backends.trainer import trainer_backend
from tests.cluster.platform_stage import ROOT, kubectl, until
from tests.node.installation import missing_images
from tests.node.trainer_stage import TRAINER, trainer_stage
from tests.training.conftest import request_for

pytestmark = [pytest.mark.node, pytest.mark.door, pytest.mark.timeout(600)]

PROGRAM = """
import os, socket, time
import numpy as np
from sklearn.datasets import load_digits
from sklearn.linear_model import SGDClassifier
from sklearn.model_selection import train_test_split
rank, nodes = int(os.environ["PET_NODE_RANK"]), int(os.environ["PET_NNODES"])
first = (os.environ["PET_MASTER_ADDR"], int(os.environ["PET_MASTER_PORT"]))
x, x_test, y, y_test = train_test_split(*load_digits(return_X_y=True), test_size=0.3, random_state=0)
model = SGDClassifier(loss="log_loss", random_state=rank).fit(x[rank::nodes] / 16, y[rank::nodes])
if rank:
    for _ in range(240):
        try:
            with socket.create_connection(first, 2) as told:
                told.sendall(np.hstack([model.coef_, model.intercept_[:, None]]).tobytes())
            break
        except OSError:
            time.sleep(0.5)
    else:
        raise SystemExit("the first node is not there")
else:
    parts = [np.hstack([model.coef_, model.intercept_[:, None]])]
    with socket.create_server(("", first[1])) as server:
        server.settimeout(120)
        while len(parts) < nodes:
            caller, _ = server.accept()
            with caller, caller.makefile("rb") as sent:
                parts.append(np.frombuffer(sent.read()).reshape(10, 65))
    mean = np.mean(parts, axis=0)
    model.coef_, model.intercept_ = mean[:, :-1].copy(), mean[:, -1].copy()
    print("nodes:", nodes, "accuracy:", round(model.score(x_test / 16, y_test), 4), flush=True)
"""
"""Each node fits its share of the digits; the first one averages what all have found."""


@pytest.fixture(scope="module")
def trainer(node: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster with Trainer v2."""
    if any("/training:" in one for one in missing_images(node)):
        pytest.skip("the node lacks the image training: make images, with --load")
    with trainer_stage(node, tmp_path_factory.mktemp("trainer")):
        yield node


@pytest.fixture(scope="module")
def backend(trainer: Cluster) -> Iterator[ClusterBackend]:
    """Our back end in a namespace of its own, with the runtimes of infrastructure/components/trainer."""
    namespace = f"trainer-jobs-{secrets.token_hex(3)}"
    bodies: list[dict[str, Any]] = [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}},
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "training-job", "namespace": namespace}},
    ]
    for body in yaml.safe_load_all((ROOT / "infrastructure/components/trainer/runtimes.yaml").read_text()):
        if body["kind"] in {"TrainingRuntime", "ConfigMap"}:
            body["metadata"]["namespace"] = namespace
            if body["kind"] == "TrainingRuntime":
                del _pod(body)["priorityClassName"]  # of the platform, which need not be here
            bodies.append(body)
    try:
        kubectl("apply", "-f", "-", given=yaml.safe_dump_all(bodies))
        yield trainer_backend(trainer, ClusterTraining(namespace=namespace))
    finally:
        kubectl("delete", "trainjobs,trainingruntimes", "--all", "-n", namespace, "--timeout=60s", check=False)
        kubectl("delete", "namespace", namespace, "--timeout=60s", "--ignore-not-found", check=False)


def _pod(runtime: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = runtime["spec"]["template"]["spec"]["replicatedJobs"][0]["template"]["spec"]["template"][
        "spec"
    ]
    return found


def attempt_of(name: str, program: str, folder: Path, workers: int) -> Attempt:
    """One that runs a program in every node."""
    request = request_for(
        "none", backend="trainer", framework="pytorch", workers=workers, resources=Resources(cpu=0.2, memory="400Mi")
    )
    return Attempt(
        job_id=f"{name}-{secrets.token_hex(3)}", attempt=1, fence=1, submitted_by="human:ada", folder=folder,
        request=request, command=("python", "-c", program),
    )  # fmt: skip


def ended(backend: ClusterBackend, handle: str, within_s: float = 180) -> BackendStatus:
    """Its status once it has ended."""

    def look() -> BackendStatus | None:
        status = backend.status(handle)
        return status if status.phase in {Phase.SUCCEEDED, Phase.FAILED} else None

    found: BackendStatus = until(look, f"{handle} has not ended", within_s)
    return found


@pytest.mark.shows("B1", "B5", "B8", "B49", env="cluster")
def test_two_nodes_of_a_train_job_find_each_other_and_train(
    trainer: Cluster, backend: ClusterBackend, tmp_path: Path
) -> None:
    attempt = attempt_of("digits", PROGRAM, tmp_path, 2)
    began = time.monotonic()
    backend.submit(attempt)
    backend.submit(attempt)
    until(lambda: backend.status(attempt.handle).phase is not Phase.PENDING, "no node runs", 120)
    started = time.monotonic() - began
    status = ended(backend, attempt.handle)
    lines = backend.logs(attempt.handle)[0]
    assert status.phase is Phase.SUCCEEDED, (status, lines)
    told = re.search(r"nodes: 2 accuracy: ([0-9.]+)", "\n".join(lines))
    assert told, lines
    assert float(told[1]) > 0.9
    assert started < 120
    print(
        json.dumps(
            {
                "a node runs after s": round(started, 1),
                "ended after s": round(time.monotonic() - began, 1),
                "accuracy": float(told[1]),
            }
        )
    )
    jobs = trainer.list(TRAINER, "TrainJob", backend._options.namespace)
    assert [one["spec"]["trainer"]["numNodes"] for one in jobs] == [2]
    backend.forget(attempt.handle)


@pytest.mark.shows("B10", env="cluster")
def test_a_train_job_that_fails_or_is_cancelled_says_so(
    trainer: Cluster, backend: ClusterBackend, tmp_path: Path
) -> None:
    failing = attempt_of("failing", "print('about to fail', flush=True); raise SystemExit(3)", tmp_path, 1)
    waiting = attempt_of("waiting", "import time; time.sleep(300)", tmp_path, 1)
    backend.submit(failing)
    backend.submit(waiting)
    status = ended(backend, failing.handle)
    assert status.phase is Phase.FAILED, status
    assert any("about to fail" in line for line in backend.logs(failing.handle)[0])
    until(lambda: backend.status(waiting.handle).phase is Phase.RUNNING, "it does not run", 120)
    backend.cancel(waiting.handle)
    assert backend.status(waiting.handle).reason == "cancelled"
    assert trainer.find(Ref(TRAINER, "TrainJob", waiting.handle, backend._options.namespace)) is None
    backend.forget(failing.handle)
    backend.forget(waiting.handle)
