"""Real runs and models in a real MLflow store, real keys, real graph files; readings drawn by the graph that is really in force."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from maestro.clients.database import Database
from maestro.clients.home import Home
from maestro.clients.mlflow import Tracking
from maestro.clients.registry import ModelRegistry
from maestro.core.clock import Clock, ManualClock
from maestro.core.contract import Feature, ModelContract, Output
from maestro.core.errors import Unreachable
from maestro.core.graph import FULL_WEIGHT, InferenceGraph, ModelNode, SplitNode
from maestro.core.metric_names import LATENCY_BUCKETS
from maestro.core.policy import RolloutPolicy
from maestro.core.principals import Principal, PrincipalRole
from maestro.core.seams import ArmReading, Reading
from maestro.governance.control import Governance
from maestro.governance.policies import read_policy
from maestro.governance.versions import ModelVersion, Registration
from maestro.security.audit import AuditLog
from maestro.security.keyring import ensure_keys, key_path
from maestro.security.signing import PrivateKey
from maestro.serving.target import GraphFileTarget

ADA = Principal(name="ada", kind="human", roles=(PrincipalRole.SUBMITTER,))
BOB = Principal(name="bob", kind="human", roles=(PrincipalRole.APPROVER,))
OPS = Principal(name="ops", kind="human", roles=(PrincipalRole.OPERATOR, PrincipalRole.SUBMITTER))


def contract(*names: str, entity: str = "person_id", high: float = 1.0) -> ModelContract:
    """A contract over columns."""
    features = tuple(Feature(name=name, min=0.0, max=high) for name in names or ("a", "b"))
    return ModelContract.build(
        features, Output(kind="classification", classes=("0", "1")), entity_keys=(entity,) if entity else ()
    )


@dataclass
class Store:
    """An MLflow store with an experiment."""

    tracking: Tracking
    experiment: str

    @property
    def registry(self) -> ModelRegistry:
        """As governance sees it."""
        return ModelRegistry(self.tracking.url)

    def log(
        self,
        folder: Path,
        files: Mapping[str, bytes],
        *,
        agreed: ModelContract | None = None,
        metrics: Mapping[str, float] | None = None,
        facts: bool = True,
    ) -> tuple[str, str]:
        """A finished run with a model and, as training leaves them, its facts; returns run id and model URI."""
        run_id = self.tracking.start_run(self.experiment, "train", {"maestro.job_name": "churn"})
        self.tracking.log(run_id, params={"depth": 3, "algorithm": "forest"}, metrics=dict(metrics or {}), tags={})
        if facts:
            self.tracking.log_text(run_id, json.dumps(facts_of(run_id)), "lineage.json")
        model_id = self.tracking.create_model(run_id, self.experiment, "model", tags={}, params={}, kind="classifier")
        path = folder / uuid.uuid4().hex
        path.mkdir(parents=True)
        for name, content in files.items():
            (path / name).write_bytes(content)
        if agreed is not None:
            (path / "contract.json").write_text(json.dumps(agreed.document()))
        uri = self.tracking.publish_model(run_id, model_id, path)
        self.tracking.end_run(run_id)
        return run_id, uri


def facts_of(run_id: str) -> dict[str, Any]:
    """`lineage.json` as training writes it."""
    return {
        "schema": "maestro.lineage/1",
        "run_id": run_id,
        "job": {"id": "j1", "name": "churn"},
        "data": {
            "dataset": "visits",
            "version": "0123456789ab",
            "content": "sha256:" + "1" * 64,
            "source": "statsmodels randhie",
            "schema": {"a": "double", "b": "double", "any_visit": "long"},
            "sample_count": 800,
            "rows": 1000,
            "target": "any_visit",
            "entity_keys": ["person_id"],
            "first_event": "2026-01-01T00:00:00.000Z",
            "last_event": "2026-06-30T00:00:00.000Z",
        },
        "features": {
            "service": "visits_v1",
            "fingerprint": "sha256:" + "2" * 64,
            "views": ["coverage"],
            "features": ["a", "b"],
        },
        "model": {
            "algorithm": "forest",
            "hyperparameters": {"depth": 3},
            "training_time_s": 1.5,
            "wall_time_s": 4.0,
            "code": {"maestro": "0.1.0", "python": "3.11", "git_commit": "a" * 40},
        },
        "cost": {"usd_micros": 55},
    }


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """One MLflow store for the session; tests use model names of their own."""
    root = tmp_path_factory.mktemp("mlflow")
    tracking = Tracking(f"sqlite:///{root / 'mlflow.db'}", root / "artifacts")
    return Store(tracking, tracking.experiment("governance"))


class FolderTarget(GraphFileTarget):
    """The graph file with its admission and compare-and-swap, without a server to wait for."""

    refusal: Exception | None = None

    def wait_ready(self, revision: int, timeout_s: float) -> None:
        """Ready, unless a test says why not."""
        if self.refusal is not None:
            raise self.refusal


@dataclass
class DrawnSource:
    """Readings as a server gives them, drawn with a seed from the weights of the graph in force.

    Each call is one second of `rate` requests, each by a new entity that is labelled at once.
    """

    target: Callable[[str], GraphFileTarget]
    clock: Clock
    bad: dict[str, dict[str, float]] = field(default_factory=dict)
    rate: int = 300
    down: bool = False
    epoch: str = "e1"
    rng: np.random.Generator = field(default_factory=lambda: np.random.default_rng(7))
    counters: dict[tuple[str, str], dict[str, int]] = field(default_factory=dict)
    entered: dict[tuple[str, int], int] = field(default_factory=dict)
    looks: int = 0

    def read(self, model: str, label_wait_s: float) -> Reading:
        """One more second of traffic, then the counters."""
        if self.down:
            raise Unreachable("the model server does not answer", component="model server")
        graph = self.target(model).read()
        assert graph is not None
        self.looks += 1
        arms = {name: self._drawn(graph, name, node, share) for name, (node, share) in shares(graph).items()}
        return Reading(at=self.clock.now(), epoch=self.epoch, revision=graph.metadata.revision, arms=arms)

    def restart(self) -> None:
        """The server starts again: its counters of requests are lost, those of entities are not."""
        self.epoch += "'"
        for counters in self.counters.values():
            counters.update(requests=0, errors=0, slow=0)
        self.entered.clear()

    def _drawn(self, graph: InferenceGraph, name: str, node: ModelNode, share: float) -> ArmReading:
        rates = {"errors": 0.0, "slow": 0.005, "quality": 0.29} | self.bad.get(node.version, {})
        counters = self.counters.setdefault(
            (name, node.version), {"requests": 0, "errors": 0, "slow": 0, "labelled": 0, "wrong": 0}
        )
        drawn = int(self.rng.poisson(self.rate * share))
        errors = int(self.rng.binomial(drawn, rates["errors"]))
        counters["requests"] += drawn
        counters["errors"] += errors
        counters["slow"] += int(self.rng.binomial(drawn, rates["slow"]))
        counters["labelled"] += drawn - errors
        counters["wrong"] += int(self.rng.binomial(drawn - errors, rates["quality"]))
        key = (name, graph.metadata.revision)
        self.entered[key] = self.entered.get(key, 0) + drawn
        total, slow = counters["requests"], counters["slow"]
        latency = {str(float(bound)): total - slow if bound >= 0.1 else 0 for bound in LATENCY_BUCKETS}
        return ArmReading(
            version=node.version,
            requests={"ok": total - counters["errors"], "error": counters["errors"]},
            latency=latency | {"+Inf": total},
            exposed=counters["labelled"],
            eligible=counters["labelled"],
            labelled=counters["labelled"],
            wrong=counters["wrong"],
            entered=self.entered[key],
        )


def shares(graph: InferenceGraph) -> dict[str, tuple[ModelNode, float]]:
    """The share of traffic of each model node."""
    root = graph.nodes[graph.root]
    if isinstance(root, ModelNode):
        return {graph.root: (root, 1.0)}
    assert isinstance(root, SplitNode)
    found = {}
    for arm in root.arms:
        node = graph.nodes[arm.node]
        assert isinstance(node, ModelNode)
        found[arm.node] = (node, arm.weight / FULL_WEIGHT)
    return found


@dataclass
class Kit:
    """Governance over a home and a database of this test."""

    home: Home
    database: Database
    clock: ManualClock
    store: Store
    model: str
    governance: Governance
    source: DrawnSource
    targets: dict[str, FolderTarget]

    def register(self, *, agreed: ModelContract | None = None, content: bytes = b"", **metrics: float) -> ModelVersion:
        """Train (log) and register a version of this test's model, as ada."""
        run_id, uri = self.store.log(
            self.home.root / "built",
            {"model.bin": content or uuid.uuid4().bytes},
            agreed=agreed or contract(),
            metrics=metrics,
        )
        return self.governance.registrar.register(self.registration(run_id, uri, **metrics))

    def registration(self, run_id: str, uri: str | None = None, **metrics: float) -> Registration:
        """What the worker asks for after ada's job."""
        return Registration(
            model=self.model,
            run_id=run_id,
            model_uri=uri,
            submitted_by=ADA.actor,
            registered_by="service:worker",
            job_id="j1",
            metrics=metrics,
            cost_usd_micros=1000,
        )

    def approved(self, version: ModelVersion, policy: RolloutPolicy) -> None:
        """Submitted by ada, approved by bob."""
        request = self.governance.approvals.submit(ADA, version, policy)
        assert request.status.value == "pending", request.evidence
        self.governance.approvals.approve(BOB, request.id, "fine")

    def champion(self, policy: RolloutPolicy, f1: float = 0.8) -> ModelVersion:
        """A first version with all the traffic."""
        from threading import Event

        version = self.register(f1=f1)
        self.approved(version, policy)
        rollout = self.governance.rollouts.start(OPS, version, policy)
        ended = self.governance.rollouts.run(rollout.id, Event())
        assert ended is not None
        assert ended.status.value == "promoted"
        return version


@pytest.fixture
def make_kit(home: Path, clock: ManualClock, store: Store) -> Callable[[Database], Kit]:
    """Governance over a given database."""

    def make(database: Database) -> Kit:
        place = Home(home)
        ensure_keys(place.keys, place.trust_policy, clock.now() - timedelta(days=1))
        audit = AuditLog(database, clock, PrivateKey.load(key_path(place.keys, "decider")), place.audit_heads)
        targets: dict[str, FolderTarget] = {}

        def target(model: str) -> FolderTarget:
            if model not in targets:
                targets[model] = FolderTarget(place, model, "http://127.0.0.1:9", "", clock=clock)
            return targets[model]

        source = DrawnSource(target, clock)
        governance = Governance(
            home=place,
            database=database,
            clock=clock,
            audit=audit,
            registry=store.registry,
            targets=target,
            sources=lambda _: source,
            endpoint="http://127.0.0.1:9",
        )
        return Kit(place, database, clock, store, f"m-{uuid.uuid4().hex[:8]}", governance, source, targets)

    return make


@pytest.fixture
def kit(make_kit: Callable[[Database], Kit], sqlite_database: Database) -> Kit:
    """Governance on SQLite."""
    return make_kit(sqlite_database)


@pytest.fixture
def kit_on_each(make_kit: Callable[[Database], Kit], database: Database) -> Kit:
    """Governance on each kind of database."""
    return make_kit(database)


@pytest.fixture
def policy() -> RolloutPolicy:
    """The demo's policy."""
    return read_policy("demo")
