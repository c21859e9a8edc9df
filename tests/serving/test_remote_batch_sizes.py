"""How much goes to a remote node as one: bounded by rows and by bytes, and less for a node that such batches are too much for."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from maestro.serving.graph import remote_batches
from maestro.serving.graph._base import Answer, Call
from maestro.serving.graph.remote import RemoteRunner
from maestro.serving.graph.remote_tensors import Tensors, body, tensors
from maestro.serving.runtimes._base import ModelTimeout
from maestro.serving.table import Table
from tests.serving.remote_model import CRASH, RemoteModel, http
from tests.serving.test_remote_batches import asked, numbers, outcomes


def sized(model: RemoteModel, calls: list[Call]) -> list[int]:
    """Rows of each request that the node got; every call must be answered."""
    found = asked(model, lambda runner: outcomes(runner, calls))
    assert all(isinstance(outcome, Answer) for outcome in found), found
    return sorted(model.sizes)


def test_a_batch_is_bounded_and_large_requests_go_by_themselves() -> None:
    calls = [numbers(*[[float(number), 0.0]] * 10) for number in range(20)]
    calls.insert(3, numbers(*[[0.5, 0.0]] * 100))
    model = RemoteModel()
    found = asked(model, lambda runner: outcomes(runner, calls))
    assert [len(outcome.prediction.values) for outcome in found] == [10] * 3 + [100] + [10] * 17
    assert sorted(model.sizes) == [20, 60, 60, 60, 100]


def test_a_batch_of_wide_rows_is_bounded_by_its_bytes() -> None:
    wide = [float(number) for number in range(10_000)]
    assert sized(RemoteModel(), [numbers(wide) for _ in range(10)]) == [2, 4, 4]


def test_a_batch_of_long_texts_is_bounded_by_its_bytes_and_a_larger_request_goes_alone() -> None:
    long, larger = Call(Table(records=[{"a": "x" * 50_000}])), Call(Table(records=[{"a": "y" * 400_000}]))
    assert sized(RemoteModel(), [long] * 4 + [larger] + [long] * 4) == [1, 2, 3, 3]


def test_what_a_tensors_values_can_take_is_not_told_too_low() -> None:
    table = Table(records=[{"a": "\x01\ud7ff\U0001f600", "b": -1.2345678901234567e-300, "c": True, "d": None}] * 3)
    sent = tensors(table)
    assert len(body([sent])) - len(body([Tensors(sent.columns, 3, ([], [], [], []))])) <= sent.most_bytes


def test_a_slow_row_soon_costs_nobody_elses_answer() -> None:
    calls = [numbers([float(number), 0.0]) for number in range(8)]
    model = RemoteModel(slow=lambda rows: 5.0 if any(row[0] == 5.0 for row in rows) else 0.0)

    async def bursts(runner: RemoteRunner) -> list[Any]:
        return [await outcomes(runner, calls) for _ in range(5)]

    found = asked(model, bursts, timeout_s=0.3)
    late = [[number for number, outcome in enumerate(burst) if isinstance(outcome, ModelTimeout)] for burst in found]
    assert late == [[*range(8)], [4, 5, 6, 7], [4, 5], [5], [5]]
    assert all(isinstance(outcome, Answer | ModelTimeout) for burst in found for outcome in burst)


def test_a_lone_request_too_late_makes_no_batch_smaller() -> None:
    model = RemoteModel()

    async def alone_and_together(runner: RemoteRunner) -> None:
        model.delay_s = 1.0
        await outcomes(runner, [numbers([1.0, 0.0])])
        model.delay_s = 0.0
        model.asked.clear()
        await outcomes(runner, [numbers([1.0, 0.0])] * 8)

    asked(model, alone_and_together, timeout_s=0.2)
    assert model.sizes == [8]


def test_a_node_in_passing_trouble_is_offered_larger_batches_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote_batches, "CALM_S", 0.05)
    model = RemoteModel()

    async def bursts(runner: RemoteRunner) -> None:
        model.fault = lambda rows: http(503, {"error": "not now"}) if len(rows) > 1 else None
        for _ in range(4):
            await outcomes(runner, [numbers([1.0, 0.0])] * 16)
        model.fault = lambda rows: None
        for _ in range(8):
            await asyncio.sleep(0.06)
            model.asked.clear()
            await outcomes(runner, [numbers([1.0, 0.0])] * 16)

    asked(model, bursts)
    assert model.sizes == [16]


def test_who_has_gone_makes_no_batch_smaller() -> None:
    model = RemoteModel()

    async def leave(runner: RemoteRunner) -> None:
        model.delay_s = 0.1
        calls = [numbers([CRASH if number == 0 else 1.0, 0.0]) for number in range(4)]
        tasks = [asyncio.create_task(runner.answer(call)) for call in calls]
        await asyncio.sleep(0.03)
        tasks[0].cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        model.delay_s = 0.0
        model.asked.clear()
        await outcomes(runner, [numbers([1.0, 0.0])] * 8)

    asked(model, leave)
    assert model.sizes == [8]


def test_a_node_that_takes_requests_only_one_by_one_is_asked_so() -> None:
    model = RemoteModel(most=2)

    async def bursts(runner: RemoteRunner) -> list[Any]:
        return [await outcomes(runner, [numbers([float(number), 0.0]) for number in range(16)]) for _ in range(6)]

    for burst in asked(model, bursts):
        assert [outcome.prediction.values for outcome in burst] == [[float(number)] for number in range(16)]
    assert model.sizes[-8:] == [2] * 8, "in as large batches as it takes"
    assert model.sizes.count(1) == 3 * 16, "16, 8 and 4 rows were tried, then no more"
