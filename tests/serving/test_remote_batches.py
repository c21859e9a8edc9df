"""Requests that go to a remote node as one: each caller gets what it would have got alone, whatever its neighbours sent and however the node fails."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maestro.core.errors import BadInput, MaestroError
from maestro.observability.tracing import start_span
from maestro.serving.breaker import Breaker
from maestro.serving.graph import remote_http
from maestro.serving.graph._base import Answer, Call
from maestro.serving.graph.remote import RemoteRunner
from maestro.serving.graph.remote_batches import MAX_ROWS
from maestro.serving.graph.remote_http import RemoteClient
from maestro.serving.runtimes._base import ModelFailed, ModelTimeout
from maestro.serving.table import Table
from tests.serving.remote_model import CRASH, POISON, RemoteModel, http, right, serving

Ask = Callable[[RemoteRunner], Coroutine[Any, Any, Any]]


def numbers(*rows: list[float]) -> Call:
    return Call(Table(matrix=np.array(rows, dtype=float)))


def asked(
    model: RemoteModel, ask: Ask, *, timeout_s: float = 5.0, warm: bool = True, breaker: Breaker | None = None
) -> Any:
    """What `ask` finds of a node that has answered one request already."""

    async def with_client(url: str) -> Any:
        async with RemoteClient() as client:
            runner = RemoteRunner("r", url, timeout_s, client, breaker or Breaker(volume=1000))
            if warm:
                await runner.answer(numbers([7.0, 7.0]))
                model.asked.clear()
            return await ask(runner)

    return asyncio.run(serving(model, with_client))


async def outcomes(runner: RemoteRunner, calls: list[Call]) -> list[Answer | BaseException]:
    return list(await asyncio.gather(*(runner.answer(call) for call in calls), return_exceptions=True))


def plain(outcome: Answer | BaseException) -> Any:
    """What a caller can tell answers apart by."""
    if isinstance(outcome, Answer):
        return outcome.prediction.values, outcome.version, outcome.arm
    assert isinstance(outcome, MaestroError), outcome
    return type(outcome), outcome.detail, outcome.field


VALUES = st.floats(-100, 100).filter(lambda value: value not in (POISON, CRASH)) | st.sampled_from(
    [POISON, CRASH, 0.5, 0.5]
)
ROWS = st.integers(1, 2).flatmap(
    lambda width: st.lists(st.lists(VALUES, min_size=width, max_size=width), min_size=1, max_size=3)
)
RECORDS = st.lists(
    st.fixed_dictionaries({"a": VALUES, "b": st.sampled_from([1.0, 2.0, "x", "why", True, None])}),
    min_size=1,
    max_size=3,
)
TABLES = st.one_of(
    ROWS.map(lambda rows: Table(matrix=np.array(rows), where="inputs[0]")),
    ROWS.map(lambda rows: Table(rows=rows)),
    RECORDS.map(lambda records: Table(records=records)),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(TABLES, min_size=1, max_size=20))
def test_each_caller_gets_what_it_would_have_got_alone(tables: list[Table]) -> None:
    calls = [Call(table) for table in tables]
    model = RemoteModel()

    async def both(runner: RemoteRunner) -> tuple[list[Any], list[Any]]:
        together = [plain(outcome) for outcome in await outcomes(runner, calls)]
        return together, [plain((await outcomes(runner, [call]))[0]) for call in calls]

    together, alone = asked(model, both)
    assert together == alone
    assert max(model.sizes) <= MAX_ROWS


def test_what_comes_in_one_turn_goes_as_one_request_and_in_order() -> None:
    calls = [numbers([float(number), 1.0]) for number in range(2, 40)]
    model = RemoteModel()
    found = asked(model, lambda runner: outcomes(runner, calls))
    assert [outcome.prediction.values for outcome in found] == [[number + 1.0] for number in range(2, 40)]
    assert {outcome.version for outcome in found} == {"3.0.0"}
    assert model.sizes == [38]


def test_a_lone_request_goes_at_once() -> None:
    async def timed(runner: RemoteRunner) -> float:
        began = time.perf_counter()
        for number in range(50):
            await runner.answer(numbers([float(number), 0.0]))
        return (time.perf_counter() - began) / 50

    model = RemoteModel()
    assert asked(model, timed) < 0.02
    assert model.sizes == [1] * 50


def test_nothing_is_gathered_until_it_is_known_how_one_request_is_answered() -> None:
    model = RemoteModel()
    asked(model, lambda runner: outcomes(runner, [numbers([1.0, 2.0])] * 5), warm=False)
    assert model.sizes == [1] * 5


@pytest.mark.parametrize(("bad", "kind"), [(POISON, BadInput), (CRASH, ModelFailed)])
def test_a_poisoned_row_fails_alone(bad: float, kind: type[MaestroError]) -> None:
    calls = [numbers([bad if number == 5 else float(number), 0.0]) for number in range(12)]
    model = RemoteModel()

    async def twice(runner: RemoteRunner) -> Any:
        return await outcomes(runner, calls), await outcomes(runner, [numbers([3.0, 0.0])] * 12)

    found, after = asked(model, twice)
    assert isinstance(found[5], kind)
    assert [outcome.prediction.values for outcome in found[:5] + found[6:]] == [[float(n)] for n in range(12) if n != 5]
    assert model.sizes == [12] + [1] * 12 + [12], "a poisoned batch makes the next ones no smaller"
    assert len(after) == 12


def test_failures_count_by_request() -> None:
    calls = [numbers([CRASH if number < 3 else float(number), 0.0]) for number in range(10)]
    counted: list[bool] = []

    class Counting(Breaker):
        def record(self, ticket: int | None, *, ok: bool) -> None:
            counted.append(ok)
            super().record(ticket, ok=ok)

    asked(RemoteModel(), lambda runner: outcomes(runner, calls), breaker=Counting(volume=1000))
    assert (counted.count(True), counted.count(False)) == (1 + 7, 3)


def test_a_slow_node_is_too_late_for_each_by_its_own_deadline() -> None:
    async def staggered(runner: RemoteRunner) -> Any:
        began = time.monotonic()

        async def one() -> tuple[BaseException | Answer, float]:
            outcome = (await outcomes(runner, [numbers([1.0, 1.0])]))[0]
            return outcome, time.monotonic() - began

        tasks = [asyncio.create_task(one()) for _ in range(5)]
        await asyncio.sleep(0.1)
        tasks += [asyncio.create_task(one()) for _ in range(5)]
        return await asyncio.gather(*tasks)

    model = RemoteModel()
    model.fault = lambda rows: None
    found = asked_slowly(model, staggered, timeout_s=0.2)
    assert all(isinstance(outcome, ModelTimeout) for outcome, _ in found)
    assert all(0.15 < took < 0.29 for _, took in found[:5])
    assert all(0.28 < took < 0.6 for _, took in found[5:])
    assert model.sizes == [5, 5]


def asked_slowly(model: RemoteModel, ask: Ask, *, timeout_s: float) -> Any:
    """As `asked`, of a node that is slow once it is warm."""

    async def slow(runner: RemoteRunner) -> Any:
        model.delay_s = 1.0
        return await ask(runner)

    return asked(model, slow, timeout_s=timeout_s)


def test_while_all_connections_are_busy_more_gather(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote_http, "MAX_CONNECTIONS", 1)

    async def streamed(runner: RemoteRunner) -> Any:
        model.delay_s = 0.1
        tasks = []
        for number in range(20):
            tasks.append(asyncio.create_task(runner.answer(numbers([float(number), 0.0]))))
            await asyncio.sleep(0.002)
        return await asyncio.gather(*tasks)

    model = RemoteModel()
    found = asked(model, streamed)
    assert [outcome.prediction.values for outcome in found] == [[float(number)] for number in range(20)]
    assert model.sizes == [1, 19]


def test_a_killed_node_fails_every_caller_once() -> None:
    model = RemoteModel()

    async def killed(runner: RemoteRunner) -> Any:
        model.fault = lambda rows: b"HTTP/1.1 200 OK\r\ncontent-le"  # and then nothing, for ever
        begun = asyncio.create_task(outcomes(runner, [numbers([1.0, 1.0])] * 8))
        await asyncio.sleep(0.05)
        model.fault = lambda rows: b""
        late = await outcomes(runner, [numbers([1.0, 1.0])] * 8)
        return await begun, late

    stuck, closed = asked(model, killed, timeout_s=0.3)
    assert all(isinstance(outcome, ModelTimeout) for outcome in stuck)
    assert all(isinstance(outcome, ModelFailed) and "without an answer" in outcome.detail for outcome in closed)
    assert model.sizes == [8, 8] + [1] * 8


def test_a_node_that_has_gone_meanwhile_is_told_to_all() -> None:
    model = RemoteModel()

    async def gone() -> Any:
        server = await asyncio.start_server(model, "127.0.0.1", 0)
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v2/models/m"
        async with RemoteClient() as client:
            runner = RemoteRunner("r", url, 5.0, client, Breaker(volume=1000))
            await runner.answer(numbers([7.0, 7.0]))
            server.close()
            model.fault = lambda rows: b""
            return await outcomes(runner, [numbers([1.0, 1.0])] * 8)

    found = asyncio.run(gone())
    assert all(isinstance(outcome, ModelFailed) and "refused" in outcome.detail for outcome in found)
    assert model.sizes == [1, 8]


@pytest.mark.parametrize("begun", [b"", b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{", b"no HTTP"])
def test_a_row_that_ends_the_connection_takes_nobody_with_it(begun: bytes) -> None:
    model = RemoteModel()

    async def crashing(runner: RemoteRunner) -> Any:
        model.ends = lambda rows: begun if any(row[0] == 5.0 for row in rows) else None
        return await outcomes(runner, [numbers([float(number), 0.0]) for number in range(8)])

    found = asked(model, crashing)
    assert isinstance(found[5], ModelFailed)
    assert [outcome.prediction.values for outcome in found[:5] + found[6:]] == [[float(n)] for n in range(8) if n != 5]


def test_answers_that_change_their_datatype_with_their_neighbours_are_not_shared() -> None:
    """As of a server that sends text as soon as one of the answers is none."""

    def shape(values: list[float]) -> tuple[str, list[Any]]:
        told = [None if value == 0.0 else value for value in values]
        return ("BYTES", [str(value) for value in told]) if None in told else ("FP64", list(told))

    model = RemoteModel(shape=shape)
    calls = [numbers([float(number % 3), 0.0]) for number in range(9)]

    async def bursts(runner: RemoteRunner) -> list[Any]:
        return [await outcomes(runner, calls) for _ in range(3)]

    for burst in asked(model, bursts):
        assert [outcome.prediction.values for outcome in burst] == [["None"], [1.0], [2.0]] * 3
    assert model.sizes == [9] + [1] * 27


def test_a_batch_with_too_few_answers_is_no_answer() -> None:
    def fault(rows: list[list[Any]]) -> bytes | None:
        if len(rows) == 1:
            return None
        output = {"name": "predict", "shape": [1], "datatype": "FP64", "data": [right(rows[0])]}
        return http(200, {"outputs": [output]})

    found = asked(
        RemoteModel(fault=fault), lambda runner: outcomes(runner, [numbers([float(n), 0.0]) for n in range(6)])
    )
    assert [outcome.prediction.values for outcome in found] == [[float(number)] for number in range(6)]


def test_a_trace_is_nobody_elses() -> None:
    async def traced(runner: RemoteRunner) -> list[str]:
        parents = []

        async def one() -> None:
            with start_span("predict", sampled=True) as span:
                parents.append(span.traceparent)
                await runner.answer(numbers([1.0, 1.0]))

        await asyncio.gather(one(), one(), runner.answer(numbers([2.0, 2.0])), runner.answer(numbers([3.0, 3.0])))
        return parents

    model = RemoteModel()
    parents = asked(model, traced)
    told = dict(zip(model.parents[1:], model.sizes, strict=True))
    assert told == {parents[0]: 1, parents[1]: 1, None: 2}


def test_a_shadows_copy_goes_with_no_callers_rows() -> None:
    calls = [numbers([1.0, 1.0])] * 3 + [Call(Table(matrix=np.array([[2.0, 2.0]])), offload=True)] * 2
    model = RemoteModel()
    asked(model, lambda runner: outcomes(runner, calls))
    assert sorted(model.sizes) == [2, 3]


def test_who_has_gone_is_not_asked_for() -> None:
    async def leave(runner: RemoteRunner) -> Any:
        model.delay_s = 0.1
        tasks = [asyncio.create_task(runner.answer(numbers([float(number), 0.0]))) for number in range(4)]
        gone = [asyncio.create_task(runner.answer(numbers([1.0]))) for _ in range(2)]
        await asyncio.sleep(0.03)
        for task in [tasks[1], *gone]:
            task.cancel()
        found = await asyncio.gather(*tasks, *gone, return_exceptions=True)
        return [type(each) if isinstance(each, BaseException) else each.prediction.values for each in found]

    model = RemoteModel()
    gone = asyncio.CancelledError
    assert asked(model, leave) == [[0.0], gone, [2.0], [3.0], gone, gone]


def test_rows_that_cannot_be_written_are_only_their_callers_misfortune() -> None:
    good, bad = Table(records=[{"a": "x"}]), Table(records=[{"a": "\ud800"}])
    found = asked(RemoteModel(), lambda runner: outcomes(runner, [Call(good), Call(bad), Call(good)]))
    assert [outcome.prediction.values for outcome in (found[0], found[2])] == [[1.0], [1.0]]
    assert isinstance(found[1], ModelFailed)
    assert "cannot be asked" in found[1].detail
