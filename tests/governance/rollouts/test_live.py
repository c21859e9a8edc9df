"""Rollouts on a real model server under real HTTP traffic: earned, lost, and survived when the server is killed in between."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray

from maestro.clients.database import Database
from maestro.clients.home import Home
from maestro.core.clock import SystemClock
from maestro.core.contract import Feature, ModelContract, Output
from maestro.core.errors import Untrusted
from maestro.core.graph import ModelNode
from maestro.core.model import format_time
from maestro.core.policy import RolloutPolicy, Rung
from maestro.core.principals import Principal, PrincipalRole
from maestro.governance.control import Governance
from maestro.governance.decisions import replay_all
from maestro.governance.production import production_node
from maestro.governance.rollouts import Rollout
from maestro.governance.rollouts.graphs import single_graph
from maestro.governance.versions import ModelVersion, Registration
from maestro.security.audit import AuditLog
from maestro.security.keyring import ensure_keys, key_path
from maestro.security.principals import PrincipalStore
from maestro.security.signing import PrivateKey
from maestro.serving.metric_source import ServerMetricSource
from maestro.serving.target import GraphFileTarget
from tests.governance.conftest import ADA, BOB, OPS, Store

MODEL = "tumour"


@dataclass
class Server:
    """The model server as a process of its own."""

    home: Home
    port: int
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it; returns when it answers."""
        environment = os.environ | {"MAESTRO_HOME": str(self.home.root), "OMP_NUM_THREADS": "1"}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "maestro.serving.main", "--port", str(self.port), "--home", str(self.home.root)],
            env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            try:
                if httpx.get(f"http://127.0.0.1:{self.port}/healthz", trust_env=False).status_code == 200:
                    return
            except httpx.HTTPError:
                pass
            time.sleep(0.1)
        raise AssertionError("the model server did not start")

    def kill(self) -> None:
        """As a machine would lose it."""
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


@dataclass
class Live:
    """Governance and traffic over a running server."""

    server: Server
    token: str
    governance: Governance
    store: Store
    rows: NDArray[np.float64]
    answers: list[int]
    stop: threading.Event = field(default_factory=threading.Event)
    failed: list[str] = field(default_factory=list)
    sent: int = 0

    def version(self, *, flip: bool) -> ModelVersion:
        """Register a model; a flipped one is nearly always wrong."""
        onnx = _fit(self.rows, self.answers, flip=flip)
        features = tuple(Feature(name=f"x{column}") for column in range(self.rows.shape[1]))
        agreed = ModelContract.build(
            features, Output(kind="classification", classes=("0", "1")), entity_keys=("patient_id",)
        )
        files = {"model.onnx": onnx}
        run_id, uri = self.store.log(self.server.home.root / "built", files, agreed=agreed, metrics={"f1": 0.9})
        asked = Registration(
            model=MODEL,
            run_id=run_id,
            model_uri=uri,
            submitted_by=ADA.actor,
            registered_by="service:worker",
            metrics={"f1": 0.9},
        )
        return self.governance.registrar.register(asked)

    def approve(self, version: ModelVersion, policy: RolloutPolicy) -> None:
        """By the book."""
        request = self.governance.approvals.submit(ADA, version, policy)
        self.governance.approvals.approve(BOB, request.id)

    def traffic(self) -> None:
        """Requests about entities that nobody asked about before, each labelled soon."""
        with httpx.Client(
            base_url=f"http://127.0.0.1:{self.server.port}",
            headers={"Authorization": f"Bearer {self.token}"},
            trust_env=False,
            timeout=5,
        ) as client:
            entity, waiting = 0, []
            while not self.stop.is_set():
                entity += 1
                row = entity % len(self.rows)
                body = {"model": MODEL, "instances": [self.rows[row].tolist()], "entities": [{"patient_id": entity}]}
                self.sent += 1
                try:
                    response = client.post("/predict", json=body)
                    if response.status_code == 200:
                        waiting.append(
                            {
                                "model": MODEL,
                                "entity": {"patient_id": entity},
                                "label": self.answers[row],
                                "at": format_time(SystemClock().now()),
                            }
                        )
                    else:
                        self.failed.append(response.text)
                    if len(waiting) >= 40:
                        labelled = client.post("/labels", json=waiting)
                        if labelled.status_code >= 400:
                            self.failed.append(labelled.text)
                        waiting.clear()
                except httpx.HTTPError as error:
                    self.failed.append(type(error).__name__)
                    time.sleep(0.05)
                time.sleep(0.002)

    def end_of(self, rollout: Rollout, timeout_s: float = 60) -> Rollout:
        """Wait for the runner to bring it to its end."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            rollout = self.governance.rollout_store.get(rollout.id)
            if rollout.step.value == "done":
                return rollout
            time.sleep(0.2)
        raise AssertionError(f"the rollout did not end: {rollout}")

    def served(self) -> str:
        """The version in production."""
        graph = self.governance.targets(MODEL).read()
        assert graph is not None
        node = production_node(graph)
        assert node is not None
        return node.version


def _fit(rows: NDArray[np.float64], answers: list[int], *, flip: bool) -> bytes:
    from skl2onnx import to_onnx
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    target = 1 - np.array(answers) if flip else np.array(answers)
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(rows, target)
    return bytes(to_onnx(model, rows[:1], options={id(model): {"zipmap": False}}).SerializeToString())


@pytest.fixture
def quick(policy: RolloutPolicy) -> RolloutPolicy:
    """Margins that a few seconds of traffic decide."""
    metrics = tuple(
        metric.model_copy(
            update={
                "margin": 0.35,
                "tolerate": 0.2,
                "label_wait": timedelta(milliseconds=200) if metric.label_wait else None,
            }
        )
        for metric in policy.metrics
    )
    return policy.model_copy(
        update={"metrics": metrics, "rungs": (Rung(weight=50), Rung(weight=100, bake=timedelta(seconds=1)))}
    )


@pytest.fixture
def live(home: Any, sqlite_database: Database, store: Store) -> Iterator[Live]:
    """Everything real."""
    from sklearn.datasets import load_breast_cancer

    place, clock = Home(home), SystemClock()
    ensure_keys(place.keys, place.trust_policy, clock.now() - timedelta(days=1))
    for folder in (place.graphs, place.versions, place.exposures):
        folder.mkdir(exist_ok=True)
    principals = PrincipalStore(sqlite_database, clock)
    principals.create(
        Principal(name="service", kind="service", roles=(PrincipalRole.OPERATOR, PrincipalRole.SUBMITTER))
    )
    token = principals.mint_key("service")
    principals.export_verifiers(place.server_keys)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    source = ServerMetricSource(url, token)
    governance = Governance(
        home=place,
        database=sqlite_database,
        clock=clock,
        audit=AuditLog(sqlite_database, clock, PrivateKey.load(key_path(place.keys, "decider")), place.audit_heads),
        registry=store.registry,
        targets=lambda model: GraphFileTarget(place, model, url, token),
        sources=lambda _: source,
        endpoint=url,
    )
    rows, target = load_breast_cancer(return_X_y=True)
    server = Server(place, port)
    server.start()
    live = Live(server, token, governance, store, np.ascontiguousarray(rows[:, :4]), target.tolist())
    traffic = threading.Thread(target=live.traffic, daemon=True)
    try:
        with governance.runner.running():
            traffic.start()
            yield live
    finally:
        live.stop.set()
        traffic.join(10)
        server.kill()


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.shows("E6", "E7", "F2", "F4", "F7", "H9", env="laptop")
def test_earned_lost_and_survived(live: Live, quick: RolloutPolicy) -> None:
    controller = live.governance.rollouts
    first = live.version(flip=False)
    live.approve(first, quick)
    assert live.end_of(controller.start(OPS, first, quick)).status.value == "promoted"
    live.failed.clear()  # nothing was served before the first version

    good = live.version(flip=False)
    live.approve(good, quick)
    rollout = controller.start(OPS, good, quick)
    while live.governance.rollout_store.get(rollout.id).state.last_look is None:
        time.sleep(0.1)
    assert live.failed == []
    live.server.kill()
    time.sleep(2)
    assert live.governance.rollout_store.get(rollout.id).status.value in {"frozen", "running"}
    live.server.start()
    promoted = live.end_of(rollout)
    assert (promoted.status.value, live.served()) == ("promoted", good.version)
    live.failed.clear()

    bad = live.version(flip=True)
    live.approve(bad, quick)
    lost = live.end_of(controller.start(OPS, bad, quick))
    assert (lost.status.value, live.served()) == ("rolled_back", good.version)
    assert lost.state.reason.startswith("quality:")
    assert live.failed == []  # being wrong is no failed request

    never_approved = live.version(flip=True)
    assert never_approved.registry_version is not None
    live.store.tracking.client.set_registered_model_alias(MODEL, "production", never_approved.registry_version)
    target = live.governance.targets(MODEL)
    graph = target.read()
    assert graph is not None
    node = ModelNode(model=MODEL, version=never_approved.version, digest=never_approved.digest)
    with pytest.raises(Untrusted, match="promotion"):
        target.write(single_graph(node, graph.metadata.revision + 1), expected_revision=graph.metadata.revision)
    assert live.served() == good.version
    reports = replay_all(live.governance.decisions, live.governance.replayers)
    assert all(report.ok for report in reports), [report for report in reports if not report.ok]
