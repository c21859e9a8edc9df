"""What remote nodes say, however wrong: whoever asked hears of it, and the fault is laid where it belongs."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from maestro.core.errors import BadInput
from maestro.serving.breaker import Breaker
from maestro.serving.graph.remote import RemoteRunner
from maestro.serving.runtimes._base import ModelFailed
from tests.serving.remote_model import RemoteModel, http
from tests.serving.test_remote_batches import asked, numbers, outcomes

BROKEN = [
    (500, b'{"error": "caf\xe9"}'),
    (500, b"[" * 100_000),
    (400, b'"\xe9"'),
    (200, b'{"outputs": [{"shape": [1], "datatype": "BYTES", "data": ["caf\xe9"]}]}'),
    (200, b"[" * 100_000),
    (200, b'{"outputs": [{"shape": [1], "datatype": "BYTES", "data": "x"}]}'),
    (200, b'{"outputs": [{"shape": [1, 0], "datatype": "FP64", "data": [1]}]}'),
    (200, b'{"outputs": [{"shape": [2, 2], "datatype": "FP64", "data": [1, 2, 3]}]}'),
    (200, b'{"outputs": [{"shape": [2, 2], "datatype": "FP64", "data": [[1, 2], 3]}]}'),
    (200, b'{"outputs": [{"shape": [2, 2], "datatype": "FP64", "data": [[1, 2], [3]]}]}'),
    (200, b'{"outputs": [{"shape": [1], "datatype": "INT64", "data": [18446744073709551616]}]}'),
    (200, b'{"outputs": [{"shape": [1], "datatype": "INT64", "data": [-9223372036854775809]}]}'),
    (200, b'{"outputs": [{"shape": [1, 2], "datatype": "INT64", "data": [[1, [{"a": 18446744073709551616}]]]}]}'),
    (200, b'{"outputs": [{"shape": [1], "datatype": "FP64", "data": [[1, %s1%s]]}]}' % (b"[" * 50, b"]" * 50)),
    (200, b'{"outputs": [{"shape": [1e400], "datatype": "FP64", "data": [1]}]}'),
]


@pytest.mark.parametrize(("status", "said"), BROKEN)
@pytest.mark.parametrize("rows", [1, 2])
def test_whatever_a_node_says_its_callers_hear_of_it(status: int, said: bytes, rows: int) -> None:
    model = RemoteModel()

    async def broken(runner: RemoteRunner) -> Any:
        model.fault = lambda rows: http(status, said)
        calls = [numbers(*[[1.0, 1.0]] * rows)] * 3
        return await asyncio.wait_for(outcomes(runner, calls), 4)

    found = asked(model, broken, timeout_s=3.0)
    kind = BadInput if status == 400 else ModelFailed
    assert [type(outcome) for outcome in found] == [kind] * 3


@pytest.mark.parametrize("most", [2**64 - 1, -(2**63)])
def test_whole_numbers_of_64_bits_are_handed_on(most: int) -> None:
    model = RemoteModel(shape=lambda values: ("INT64", [most for _ in values]))
    found = asked(model, lambda runner: outcomes(runner, [numbers([1.0, 1.0])] * 2))
    assert [outcome.prediction.values for outcome in found] == [[most]] * 2


def test_a_node_without_the_model_has_failed_and_no_row_is_at_fault() -> None:
    model = RemoteModel()

    async def missing(runner: RemoteRunner) -> Any:
        model.fault = lambda rows: http(404, {"error": "no model m"})
        return await outcomes(runner, [numbers([1.0, 1.0])] * 2), runner.breaker.state.name

    found, state = asked(model, missing, breaker=Breaker(volume=2, share=0.5))
    assert [type(outcome) for outcome in found] == [ModelFailed] * 2
    assert state == "OPEN"
