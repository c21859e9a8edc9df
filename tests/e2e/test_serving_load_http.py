"""The model server at the loads that are promised, and what rollouts do to it: rates and latencies, split, shadow, blue-green."""

from __future__ import annotations

import asyncio
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from maestro.clients.home import Home
from maestro.core.policy import RolloutPolicy
from maestro.core.principals import PrincipalRole
from maestro.decisions.assignment import split_accuracy
from maestro.governance.policies import read_policy
from maestro.governance.rollouts.graphs import Arms, single_graph
from maestro.governance.rollouts.strategies import strategy
from maestro.serving.target import GraphFileTarget
from tests.e2e.callers import Callers, load, memory_mib, post_of, read_answer, share, state_figures
from tests.serving.conftest import ENTITY, Process, Trained, Workshop, eventually, node, process_of, split

pytestmark = [pytest.mark.e2e, pytest.mark.door, pytest.mark.timeout(600)]

SECONDS = 20.0
UNITS = 12_000
ROUNDS = 1000
DAY_S = 86_400
MILLIONS = 2_000_000
Say = Callable[[str, object], None]


def port_of(process: Process) -> int:
    """Where it listens."""
    return int(process.url.rpartition(":")[2])


@pytest.mark.shows("G1", "G2", "G3", "G18", "G20", "L15", env="laptop")
def test_single_rows_are_answered_by_the_thousand_a_second(
    workshop: Workshop, models: tuple[Trained, Trained], start: Callable[..., Process], record_property: Say
) -> None:
    good, _ = models
    workshop.graph({"a": node(workshop.register("1.0.0", {"model.onnx": good.onnx}, good.contract))}, "a")
    process = start()
    request = post_of({"instances": good.rows[:1].tolist()})
    warm, _ = asyncio.run(load(port_of(process), request, 16, 1.0))
    taken, statuses = asyncio.run(load(port_of(process), request, 16, SECONDS))
    rate = len(taken) / SECONDS
    failed = 1 - statuses[200] / len(taken)
    state_figures(
        record_property,
        seconds=SECONDS,
        requests_per_s=round(rate),
        requests_a_day_at_that_rate=round(rate * DAY_S),
        p50_ms=round(1000 * share(taken, 0.5), 2),
        p95_ms=round(1000 * share(taken, 0.95), 2),
        p99_ms=round(1000 * share(taken, 0.99), 2),
        error_share=failed,
    )
    assert rate > 1000
    assert rate * DAY_S >= MILLIONS
    assert share(taken, 0.95) < 0.1
    assert share(taken, 0.99) < 0.2
    assert failed < 0.001
    lines = httpx.get(f"{process.url}/metrics", trust_env=False).text.splitlines()
    (counted,) = [line for line in lines if line.startswith('maestro_responses_total{status="200"}')]
    assert float(counted.rpartition(" ")[2]) == len(warm) + len(taken), "as many as were asked"


@pytest.mark.shows("G4", env="laptop")
def test_ten_thousand_predictions_a_second_within_ten_milliseconds(
    workshop: Workshop, models: tuple[Trained, Trained], start: Callable[..., Process], record_property: Say
) -> None:
    good, _ = models
    workshop.graph({"a": node(workshop.register("1.0.0", {"model.onnx": good.onnx}, good.contract))}, "a")
    process = start()
    request = post_of({"instances": good.rows[:100].tolist()})
    asyncio.run(load(port_of(process), request, 1, 0.5))
    taken, statuses = asyncio.run(load(port_of(process), request, 1, 10.0))
    rate, p99 = 100 * len(taken) / 10.0, share(taken, 0.99)
    state_figures(record_property, predictions_per_s=round(rate), p99_ms=round(1000 * p99, 2))
    assert set(statuses) == {200}
    assert rate > 10_000
    assert p99 < 0.01


@contextmanager
def one_core() -> Iterator[None]:
    """What is started in the block has one core for itself and all its threads and children."""
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(allowed)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)


@pytest.mark.shows("G9", "G14", "G17", env="laptop")
def test_two_models_at_once_keep_to_one_core_and_two_gibibytes(
    workshop: Workshop, models: tuple[Trained, Trained], start: Callable[..., Process], record_property: Say
) -> None:
    good, other = models
    for name, each in (("m", good), ("n", other)):
        version = workshop.register("1.0.0", {"model.onnx": each.onnx}, each.contract, model=name)
        workshop.graph({"a": node(version)}, "a", model=name)
    with one_core():
        process = start()
    assert len(os.sched_getaffinity(process.process.pid)) == 1

    async def both() -> list[tuple[list[float], Counter[int]]]:
        requests = [post_of({"model": name, "instances": good.rows[:8].tolist()}) for name in ("m", "n")]
        return await asyncio.gather(*(load(port_of(process), request, 8, 8.0) for request in requests))

    results = asyncio.run(both())
    memory = memory_mib(process.process.pid)
    figures: dict[str, object] = {"memory_mib": round(memory)}
    for name, (taken, _) in zip(("m", "n"), results, strict=True):
        figures |= {
            f"{name}_requests_per_s": round(len(taken) / 8),
            f"{name}_p99_ms": round(1000 * share(taken, 0.99), 2),
        }
    state_figures(record_property, **figures)
    for name, each, (taken, statuses) in zip(("m", "n"), (good, other), results, strict=True):
        assert set(statuses) == {200}
        assert share(taken, 0.99) < 0.2
        answer = httpx.post(f"{process.url}/predict", json={"model": name, "instances": good.rows[:8].tolist()})
        assert answer.json()["predictions"] == each.model.predict(good.rows[:8]).tolist()
    assert memory < 2048


async def arms_of(port: int, rows: list[list[float]], units: range) -> dict[int, str]:
    """Ask once for each unit, on 32 connections: the arm that it got."""
    waiting = iter(units)
    found: dict[int, str] = {}

    async def caller() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for unit in waiting:
            writer.write(post_of({"instances": [rows[unit % len(rows)]], "entities": [{ENTITY: unit}]}))
            status, headers, body = await read_answer(reader)
            assert status == 200, body
            found[unit] = headers["x-maestro-arm"]
        writer.close()

    await asyncio.gather(*(caller() for _ in range(32)))
    return found


@pytest.mark.shows("H1", "H2", "H3", "H5", env="laptop")
def test_the_split_is_as_accurate_as_it_is_set_and_nobody_changes_sides(
    workshop: Workshop, models: tuple[Trained, Trained], start: Callable[..., Process], record_property: Say
) -> None:
    good, other = models
    a = workshop.register("1.0.0", {"model.onnx": good.onnx}, good.contract)
    b = workshop.register("1.1.0", {"model.onnx": other.onnx}, other.contract, statement="authorisation")
    nodes = {"a": node(a), "b": node(b)}
    workshop.graph(nodes | {"ab": split("a", "b", 3000, experiment="e")}, "ab")
    header = {"Authorization": f"Bearer {workshop.key(PrincipalRole.VIEWER)}"}
    process = start(MAESTRO_SERVING__WORKERS="2")
    rows = good.rows.tolist()
    arms = asyncio.run(arms_of(port_of(process), rows, range(UNITS)))
    # The same units again, on other connections and so by other workers.
    again = asyncio.run(arms_of(port_of(process), rows, range(0, UNITS, 7)))
    assert all(arms[unit] == arm for unit, arm in again.items())
    evidence = httpx.get(f"{process.url}/admin/evidence/m", headers=header, trust_env=False).json()["arms"]
    exposed = {name: evidence[name]["exposed"] for name in ("a", "b")}
    assert exposed == Counter(arms.values()), "first exposures, whichever worker answered"
    judged = {
        name: split_accuracy(exposed[name], sum(exposed.values()), weight) for name, weight in (("a", 0.7), ("b", 0.3))
    }
    state_figures(
        record_property, units=UNITS, **{f"accuracy_{name}": found.accuracy for name, found in judged.items()}
    )
    assert {found.verdict for found in judged.values()} == {"accurate"}
    # A larger share takes units over and gives none back.
    workshop.graph(nodes | {"ab": split("a", "b", 5000, experiment="e")}, "ab", revision=2)
    eventually(lambda: httpx.get(f"{process.url}/healthz", trust_env=False).json()["models"]["m"] == 2, timeout_s=20)
    moved = asyncio.run(arms_of(port_of(process), rows, range(0, UNITS, 7)))
    assert all(moved[unit] == "b" for unit in moved if arms[unit] == "b")
    assert split_accuracy(Counter(moved.values())["b"], len(moved), 0.5).verdict in {"accurate", "too_few"}


async def asked_in_turns(ports: dict[str, int], rows: list[list[float]]) -> dict[str, list[float]]:
    """Ask each server in its turn, on a few connections to each that are never all busy: the times in seconds."""
    taken: dict[str, list[float]] = {name: [] for name in ports}

    async def caller(number: int) -> None:
        pairs = {name: await asyncio.open_connection("127.0.0.1", port) for name, port in ports.items()}
        for turn in range(ROUNDS):
            unit = number * ROUNDS + turn
            request = post_of({"instances": [rows[unit % len(rows)]], "entities": [{ENTITY: unit}]})
            for name, (reader, writer) in pairs.items():
                began = time.perf_counter()
                writer.write(request)
                status, _, body = await read_answer(reader)
                taken[name].append(time.perf_counter() - began)
                assert status == 200, body
                await asyncio.sleep(0.003)
        for _, writer in pairs.values():
            writer.close()

    await asyncio.gather(*(caller(number) for number in range(4)))
    return taken


@pytest.mark.shows("H4", env="laptop")
def test_neither_a_split_nor_a_router_adds_five_milliseconds(
    models: tuple[Trained, Trained], record_property: Say, tmp_path: Path
) -> None:
    good, other = models
    shops = {}
    for name in ("direct", "split", "router"):
        (tmp_path / name).mkdir()
        shops[name] = Workshop(Home(tmp_path / name))
    one = shops["direct"].register("1.0.0", {"model.onnx": good.onnx}, good.contract)
    shops["direct"].graph({"a": node(one)}, "a")
    a = shops["split"].register("1.0.0", {"model.onnx": good.onnx}, good.contract)
    b = shops["split"].register("1.1.0", {"model.onnx": other.onnx}, other.contract, statement="authorisation")
    shops["split"].graph({"a": node(a), "b": node(b), "ab": split("a", "b", 5000, experiment="e")}, "ab")
    with ExitStack() as stack:

        def started(name: str) -> Process:
            return stack.enter_context(process_of(shops[name].home, tmp_path / f"{name}.log")).wait_ready(120)

        processes = {name: started(name) for name in ("direct", "split")}
        remote = {"type": "remote", "url": f"{processes['direct'].url}/v2/models/m", "timeout_ms": 2000}
        shops["router"].graph({"a": remote, "b": remote, "ab": split("a", "b", 5000)}, "ab")
        processes["router"] = started("router")
        ports = {name: port_of(process) for name, process in processes.items()}
        taken = asyncio.run(asked_in_turns(ports, good.rows.tolist()))
    figures = {f"{name}_p99_ms": round(1000 * share(times, 0.99), 2) for name, times in taken.items()}
    added = {name: share(taken[name], 0.99) - share(taken["direct"], 0.99) for name in ("split", "router")}
    state_figures(
        record_property, **figures, **{f"{name}_adds_ms": round(1000 * each, 2) for name, each in added.items()}
    )
    assert max(added.values()) <= 0.005


class Release:
    """A champion that answers, and a challenger whose artifact lies beside it."""

    def __init__(self, workshop: Workshop, models: tuple[Trained, Trained], process: Process) -> None:
        good, other = models
        self.rows = good.rows
        self.right = {"1.0.0": good.answers, "1.1.0": other.answers}
        self.token = workshop.key(PrincipalRole.VIEWER)
        self.target = GraphFileTarget(workshop.home, "m", process.url, self.token)
        self.process = process

    def move(self, graph: Any) -> None:
        """Write a graph as the rollout controller does, and wait until the server answers on it."""
        revision = graph.metadata.revision
        self.target.write(graph, expected_revision=revision - 1)
        self.target.wait_ready(revision, 30)

    def callers(self) -> Callers:
        """Callers who know what each version must answer."""

        def ask(client: httpx.Client, number: int, turn: int) -> httpx.Response:
            row = (turn + number) % len(self.rows)
            unit = {ENTITY: number * 1_000_000 + turn}
            return client.post(
                "/predict", json={"instances": [self.rows[row].tolist()], "entities": [unit]}, extensions={"row": row}
            )

        def check(response: httpx.Response) -> str | None:
            row = response.request.extensions["row"]
            version = response.headers["x-maestro-version"]
            fine = response.json()["predictions"] == [self.right[version][row]]
            return None if fine else f"mixed: {response.text} of {version}"

        return Callers(self.process.url, ask, check)

    def arms(self) -> dict[str, Any]:
        """What the server counts of each arm."""
        header = {"Authorization": f"Bearer {self.token}"}
        found: dict[str, Any] = httpx.get(
            f"{self.process.url}/admin/evidence/m", headers=header, trust_env=False
        ).json()["arms"]
        return found


@pytest.fixture
def release(
    workshop: Workshop, models: tuple[Trained, Trained], start: Callable[..., Process]
) -> tuple[Release, Arms, RolloutPolicy]:
    """1.0.0 in production, 1.1.0 allowed to be."""
    good, other = models
    one = workshop.register("1.0.0", {"model.onnx": good.onnx}, good.contract)
    two = workshop.register("1.1.0", {"model.onnx": other.onnx}, other.contract)
    arms = Arms(
        model="m",
        number=1,
        champion="1.0.0",
        champion_digest=one.content_digest(),
        challenger="1.1.0",
        challenger_digest=two.content_digest(),
    )
    workshop.graph({"champion": node(one)}, "champion")
    process = start(MAESTRO_SERVING__WORKERS="2", MAESTRO_SERVING__GRAPH_POLL_S="0.01")
    return Release(workshop, models, process), arms, read_policy("default")


@pytest.mark.shows("F5", env="laptop")
def test_blue_green_moves_all_traffic_by_one_write_and_back(
    release: tuple[Release, Arms, RolloutPolicy], record_property: Say
) -> None:
    kit, arms, policy = release
    blue_green = strategy("blue-green")
    callers = kit.callers()
    with callers.calling(3):
        eventually(lambda: len(callers.answers) > 200, timeout_s=30)
        kit.move(blue_green.graph(arms, policy, 0, 2))
        warm = time.monotonic()
        eventually(lambda: sum(seen.asked > warm for seen in callers.answers) > 300, timeout_s=30)
        assert {seen.version for seen in callers.answers} == {"1.0.0"}, "ready, and without traffic"
        challenger = kit.arms()[arms.challenger_node]
        assert sum(challenger["requests"].values()) == 0
        kit.move(single_graph(arms.challenger_model(), 3))
        green = time.monotonic()
        eventually(lambda: sum(seen.asked > green for seen in callers.answers) > 300, timeout_s=30)
        kit.move(single_graph(arms.champion_model(), 4))
        blue = time.monotonic()
        eventually(lambda: sum(seen.asked > blue for seen in callers.answers) > 300, timeout_s=30)
    assert callers.problems == Counter(), "no request failed and no connection went back"
    by_revision = {
        revision: {seen.version for seen in callers.answers if seen.revision == revision} for revision in range(1, 5)
    }
    assert by_revision == {1: {"1.0.0"}, 2: {"1.0.0"}, 3: {"1.1.0"}, 4: {"1.0.0"}}
    after_switch = {seen.version for seen in callers.answers if green < seen.asked < blue and seen.revision == 3}
    assert after_switch == {"1.1.0"}
    overlaps = callers.overlaps()
    state_figures(record_property, requests=len(callers.answers), switch_longest_ms=round(1000 * max(overlaps), 2))
    assert max(overlaps) <= 0.1


@pytest.mark.shows("F6", env="laptop")
def test_a_shadow_sees_every_request_and_answers_none(
    release: tuple[Release, Arms, RolloutPolicy], record_property: Say
) -> None:
    kit, arms, policy = release
    callers = kit.callers()
    with callers.calling(2):
        kit.move(strategy("shadow").graph(arms, policy, 0, 2))
        moved = time.monotonic()
        eventually(lambda: sum(seen.asked > moved for seen in callers.answers) > 500, timeout_s=30)
    assert callers.problems == Counter()
    assert {seen.version for seen in callers.answers} == {"1.0.0"}
    shadowed = sum(seen.revision == 2 for seen in callers.answers)

    def copies() -> Counter[str]:
        text = httpx.get(f"{kit.process.url}/metrics", trust_env=False).text
        lines = [line for line in text.splitlines() if line.startswith("maestro_shadow_copies_total{")]
        return Counter({line.split('result="')[1].split('"')[0]: int(float(line.split()[-1])) for line in lines})

    eventually(lambda: sum(copies().values()) == shadowed, timeout_s=20)
    found = copies()
    state_figures(record_property, requests=shadowed, **{f"copies_{name}": count for name, count in found.items()})
    assert found["failed"] == 0
    assert found["differ"] > 0, "the challenger answers otherwise, and nobody got its answers"
    champion, challenger = kit.arms()[arms.champion_node], kit.arms()[arms.challenger_node]
    assert champion["requests"]["ok"] == shadowed
    assert challenger["requests"]["ok"] == shadowed - found["dropped"]
