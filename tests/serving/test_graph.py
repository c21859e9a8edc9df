"""Every node type of the inference graph on real models; what an arm counts and what the caller gets."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import pytest

from maestro.clients.home import Home
from maestro.core.contract import ModelContract, Output
from maestro.core.graph import Arm
from maestro.core.manifest import VersionManifest
from maestro.decisions.assignment import assign
from maestro.serving.runtimes import Answers, ModelFailed, ModelRuntime, Runtimes
from maestro.serving.table import Batch, Prediction
from tests.serving.conftest import ENTITY, Client, Process, Serve, Trained, Workshop, eventually, node, serving, split

pytestmark = pytest.mark.door

ROW = [12.0, 15.0, 80.0, 500.0]


@pytest.fixture
def versions(workshop: Workshop, trained: Trained, worse: Trained) -> tuple[VersionManifest, VersionManifest]:
    """A champion, and a challenger that always answers otherwise."""
    return (
        workshop.register("1.0.0", {"model.onnx": trained.onnx}, trained.contract),
        workshop.register("1.1.0", {"model.onnx": worse.onnx}, worse.contract),
    )


class Faulty:
    """The runtimes of a server in which one version misbehaves once it is warm: it fails, or it is slow."""

    def __init__(self, victims: dict[str, str], slow_s: float = 0.0) -> None:
        self.victims = victims
        self.slow_s = slow_s
        self.calls = 0

    def make(self, kind: str, folder: Path, contract: ModelContract) -> ModelRuntime:
        inner = Runtimes().make(kind, folder, contract)
        how = self.victims.get(contract.feature_service.name if contract.feature_service else "")
        return inner if how is None else _Misbehaving(inner, how, self)


class _Misbehaving:
    """A real runtime behind a fault."""

    kind: ClassVar[str] = "onnx"

    @property
    def quick(self) -> bool:
        return False

    @property
    def path(self) -> str:
        return self.inner.path

    @property
    def inline(self) -> bool:
        return False

    def cost_us(self, rows: int) -> float:
        return self.inner.cost_us(rows)

    def answer(self, batch: Batch, timeout_s: float) -> Answers:
        self.predict(batch, timeout_s)
        return self.inner.answer(batch, timeout_s)

    def __init__(self, inner: ModelRuntime, how: str, plan: Faulty) -> None:
        self.inner, self.how, self.plan = inner, how, plan

    def load(self) -> None:
        self.inner.load()

    def warm_up(self, sample: Batch) -> None:
        self.inner.warm_up(sample)

    def predict(self, batch: Batch, timeout_s: float) -> Prediction:
        self.plan.calls += 1
        if self.how == "fail":
            raise ModelFailed("it fails", remedy="repair it")
        time.sleep(self.plan.slow_s)
        return self.inner.predict(batch, timeout_s)

    def close(self) -> None:
        self.inner.close()


def marked(contract: ModelContract, name: str) -> ModelContract:
    """The contract under a feature service by which `Faulty` knows its version."""
    service = {"name": name, "fingerprint": "sha256:" + "0" * 64}
    return ModelContract.model_validate(contract.document() | {"feature_service": service})


def ask(client: Client, unit: str | int | None = None, rows: list[Any] | None = None) -> Any:
    body: dict[str, Any] = {"instances": rows or [ROW]}
    if unit is not None:
        body["context"] = {ENTITY: unit}
    return client.post("/predict", json=body)


def counted(client: Client, arm: str) -> dict[str, int]:
    server = client.server
    return next(dict(c.outcomes) for (_, _, name), c in server.metrics.arms.items() if name == arm)


def test_a_split_is_sticky_and_follows_the_assignment(
    workshop: Workshop, versions: tuple[VersionManifest, VersionManifest], serve: Serve
) -> None:
    a, b = versions
    workshop.graph({"a": node(a), "b": node(b), "ab": split("a", "b", 3000)}, "ab")
    client = serve()
    arms = (Arm(node="a", weight=7000), Arm(node="b", weight=3000))
    for unit in [*range(100), *range(100)]:
        assert ask(client, unit).headers["x-maestro-arm"] == assign(arms, "s", str(unit))
    by_header = client.post("/predict", json={"instances": [ROW]}, headers={"x-maestro-unit": "17"})
    assert by_header.headers["x-maestro-arm"] == assign(arms, "s", "17")


def test_without_a_key_a_split_goes_by_request(
    workshop: Workshop, versions: tuple[VersionManifest, VersionManifest], serve: Serve
) -> None:
    a, b = versions
    workshop.graph({"a": node(a), "b": node(b), "ab": split("a", "b", 5000)}, "ab")
    client = serve()
    assert len(Counter(ask(client).headers["x-maestro-arm"] for _ in range(60))) == 2


def test_rows_about_several_entities_go_each_to_its_own_arm(
    workshop: Workshop,
    versions: tuple[VersionManifest, VersionManifest],
    trained: Trained,
    worse: Trained,
    serve: Serve,
) -> None:
    a, b = versions
    workshop.graph({"a": node(a), "b": node(b), "ab": split("a", "b", 5000)}, "ab")
    client = serve()
    arms = (Arm(node="a", weight=5000), Arm(node="b", weight=5000))
    units = range(40)
    response = client.post(
        "/predict", json={"instances": trained.rows[:40].tolist(), "entities": [{ENTITY: unit} for unit in units]}
    )
    answers = {"a": trained.answers, "b": worse.answers}
    assert response.json()["predictions"] == [answers[assign(arms, "s", str(unit))][unit] for unit in units]
    assert set(response.headers["x-maestro-version"].split(",")) == {"1.0.0", "1.1.0"}


@pytest.mark.parametrize(("how", "outcome"), [("fail", "error"), ("slow", "timeout")])
def test_an_arm_that_fails_is_answered_by_the_fallback_and_counted_as_failed(
    workshop: Workshop, trained: Trained, how: str, outcome: str
) -> None:
    a = workshop.register("1.0.0", {"model.onnx": trained.onnx}, trained.contract)
    b = workshop.register("1.1.0", {"model.onnx": trained.onnx}, marked(trained.contract, "bad"))
    workshop.graph({"a": node(a), "b": node(b, timeout_ms=50), "ab": split("a", "b", 10_000)}, "ab")
    with serving(workshop, runtimes=Faulty({"bad": how}, slow_s=0.3)) as client:
        started = time.monotonic()
        response = ask(client, 1)
        took = time.monotonic() - started
        assert response.status_code == 200, response.text
        assert response.headers["x-maestro-arm"] == "b"
        assert response.headers["x-maestro-fallback"] == "a"
        assert response.headers["x-maestro-version"] == "1.0.0"
        assert counted(client, "b") == {"ok": 0, "error": 0, "timeout": 0, "contract": 0} | {outcome: 1}
        assert counted(client, "a") == {"ok": 0, "error": 0, "timeout": 0, "contract": 0}
        if how == "slow":
            assert took < 0.25
        assert 'maestro_responses_total{status="200"} 1.0' in client.get("/metrics").text


def test_a_failure_without_a_fallback_is_unavailable_with_a_reason(workshop: Workshop, trained: Trained) -> None:
    b = workshop.register("1.1.0", {"model.onnx": trained.onnx}, marked(trained.contract, "bad"))
    workshop.graph({"b": node(b)}, "b")
    with serving(workshop, runtimes=Faulty({"bad": "fail"})) as client:
        response = ask(client)
        assert response.status_code == 503
        assert response.json()["detail"] == "it fails"
        assert counted(client, "b")["error"] == 1


def test_rows_that_break_the_contract_count_as_such_and_are_the_callers(
    workshop: Workshop, versions: tuple[VersionManifest, VersionManifest], serve: Serve
) -> None:
    a, b = versions
    workshop.graph({"a": node(a), "b": node(b), "ab": split("a", "b", 10_000)}, "ab")
    client = serve()
    assert ask(client, 1, [[1.0, 2.0]]).status_code == 422
    assert counted(client, "b")["contract"] == 1
    assert counted(client, "a")["contract"] == 0


def test_a_shadow_can_neither_slow_nor_fail_the_caller(workshop: Workshop, trained: Trained) -> None:
    a = workshop.register("1.0.0", {"model.onnx": trained.onnx}, trained.contract)
    b = workshop.register(
        "1.1.0", {"model.onnx": trained.onnx}, marked(trained.contract, "bad"), statement="authorisation"
    )
    shadow = {"type": "shadow", "primary": "a", "mirror": "b"}
    workshop.graph({"a": node(a), "b": node(b), "s": shadow}, "s")
    plan = Faulty({"bad": "slow"}, slow_s=0.4)
    with serving(workshop, runtimes=plan) as client:
        times = []
        for unit in range(30):
            started = time.monotonic()
            response = ask(client, unit)
            times.append(time.monotonic() - started)
            assert response.headers["x-maestro-version"] == "1.0.0"
        assert sorted(times)[len(times) // 2] < 0.1
        assert max(times) < 0.35
        eventually(lambda: plan.calls >= 1)
        assert counted(client, "a")["ok"] == 30
    with serving(workshop, runtimes=Faulty({"bad": "fail"})) as client:
        assert all(ask(client, unit).status_code == 200 for unit in range(5))
        eventually(lambda: counted(client, "b")["error"] == 5)


def test_ensembles_vote_and_average(workshop: Workshop, trained: Trained, worse: Trained, serve: Serve) -> None:
    good = workshop.register("1.0.0", {"model.onnx": trained.onnx}, trained.contract)
    also = workshop.register("1.0.1", {"model.onnx": trained.onnx}, trained.contract)
    bad = workshop.register("1.1.0", {"model.onnx": worse.onnx}, worse.contract)
    members = {"g": node(good), "h": node(also), "b": node(bad)}
    kinds: list[tuple[dict[str, Any], list[int]]] = [
        ({"combine": "vote", "members": ["g", "h", "b"]}, trained.answers),
        ({"combine": "mean", "members": ["g", "h", "b"]}, trained.answers),
        ({"combine": "weighted", "members": ["g", "h", "b"], "weights": [0.1, 0.1, 0.8]}, worse.answers),
    ]
    client = serve()
    for revision, (fields, expected) in enumerate(kinds, 1):
        workshop.graph(members | {"e": {"type": "ensemble"} | fields}, "e", revision=revision)
        eventually(lambda wanted=revision: client.get("/healthz").json()["models"].get("m") == wanted)  # type: ignore[misc]
        response = ask(client, rows=trained.rows[:30].tolist())
        assert response.json()["predictions"] == expected[:30]
        assert response.headers["x-maestro-version"] == "1.0.0+1.0.1+1.1.0"
        assert response.headers["x-maestro-arm"] == "e"


@pytest.fixture
def scaler(trained: Trained) -> tuple[bytes, ModelContract]:
    """A model whose answer is a row of features: the first step of a chain."""
    from skl2onnx import to_onnx
    from sklearn.preprocessing import StandardScaler

    model = StandardScaler(with_std=False, with_mean=False).fit(trained.rows)
    contract = ModelContract.build(trained.contract.features, Output(kind="regression"), entity_keys=(ENTITY,))
    return to_onnx(model, trained.rows[:1]).SerializeToString(), contract


def test_a_chain_feeds_each_step_with_the_one_before(
    workshop: Workshop, trained: Trained, scaler: tuple[bytes, ModelContract], serve: Serve
) -> None:
    one = workshop.register("1.0.0", {"model.onnx": scaler[0]}, scaler[1], model="scaler")
    two = workshop.register("1.0.0", {"model.onnx": trained.onnx}, trained.contract)
    workshop.graph({"one": node(one), "two": node(two), "c": {"type": "chain", "steps": ["one", "two"]}}, "c")
    client = serve()
    assert ask(client, rows=trained.rows[:20].tolist()).json()["predictions"] == trained.answers[:20]


def test_a_chain_whose_steps_do_not_fit_is_not_the_callers_fault(
    workshop: Workshop, trained: Trained, worse: Trained, serve: Serve
) -> None:
    one = workshop.register("1.0.0", {"model.onnx": trained.onnx}, trained.contract)
    two = workshop.register("1.1.0", {"model.onnx": worse.onnx}, worse.contract)
    workshop.graph({"one": node(one), "two": node(two), "c": {"type": "chain", "steps": ["one", "two"]}}, "c")
    response = ask(serve())
    assert response.status_code == 503
    assert "output of the step before 'two'" in response.json()["detail"]


def test_a_fallback_node_answers_with_the_first_that_can(workshop: Workshop, trained: Trained) -> None:
    a = workshop.register("1.0.0", {"model.onnx": trained.onnx}, trained.contract)
    b = workshop.register("1.1.0", {"model.onnx": trained.onnx}, marked(trained.contract, "bad"))
    workshop.graph({"a": node(a), "b": node(b), "f": {"type": "fallback", "nodes": ["b", "a"]}}, "f")
    with serving(workshop, runtimes=Faulty({"bad": "fail"})) as client:
        response = ask(client)
        assert response.status_code == 200
        assert response.headers["x-maestro-version"] == "1.0.0"
        assert response.headers["x-maestro-fallback"] == "a"
        assert response.headers["x-maestro-arm"] == "f"
        assert counted(client, "f") == {"ok": 0, "error": 1, "timeout": 0, "contract": 0}


@pytest.fixture
def elsewhere(trained: Trained, tmp_path: Path, spawn: Callable[..., Process]) -> Process:
    """Another model server, in a process and a home of its own."""
    other = Workshop(Home(tmp_path / "elsewhere"))
    version = other.register("3.0.0", {"model.onnx": trained.onnx}, trained.contract)
    other.graph({"a": node(version)}, "a")
    return spawn(home=other.home).wait_ready()


def test_a_remote_node_speaks_the_open_inference_protocol(
    workshop: Workshop, trained: Trained, worse: Trained, serve: Serve, elsewhere: Process
) -> None:
    local = workshop.register("1.0.0", {"model.onnx": worse.onnx}, worse.contract)
    remote = {"type": "remote", "url": f"{elsewhere.url}/v2/models/m", "timeout_ms": 2000}
    workshop.graph({"a": node(local), "r": remote, "ar": split("a", "r", 10_000)}, "ar")
    client = serve()
    rows = trained.rows[:6].tolist()
    response = ask(client, 1, rows)
    assert response.json()["predictions"] == trained.answers[:6]
    assert response.headers["x-maestro-version"] == "3.0.0"
    named = [dict(zip(trained.contract.names, row, strict=True)) for row in rows]
    assert ask(client, 1, named).json()["predictions"] == trained.answers[:6]
    assert ask(client, 1, [[1.0]]).status_code == 422
    elsewhere.kill()
    response = ask(client, 1, rows)
    assert response.json()["predictions"] == worse.answers[:6]
    assert response.headers["x-maestro-fallback"] == "a"
    assert counted(client, "r") == {"ok": 2, "error": 1, "timeout": 0, "contract": 1}
