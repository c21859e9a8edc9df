"""What a worker hears from its parent about features, over a real channel."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from maestro.core.errors import BadInput, MaestroError, NotFound, Unreachable
from maestro.serving.engine.channel import Channel
from maestro.serving.engine.messages import refusal
from maestro.serving.engine.relay import RelayFeatures

Answer = Callable[[Channel, int], object]


def told(answer: Answer, *keys: int | str) -> Any:
    """What a look-up gives when the parent answers so."""
    entities: list[dict[str, Any]] = [{"id": key} for key in keys or (1, "x", 3)]

    async def scenario() -> Any:
        ours, theirs = socket.socketpair()
        closed: list[None] = []

        def received(kind: str, number: int, payload: msgspec.Raw) -> None:
            answer(parent, number)

        parent = Channel(ours, received, lambda: closed.append(None))
        worker = Channel(theirs, received, lambda: closed.append(None))
        try:
            return await asyncio.to_thread(RelayFeatures(worker, 0.5).get, "s", entities)
        finally:
            worker.close()
            parent.close()

    return asyncio.run(scenario())


def test_each_row_has_its_features_or_its_own_error() -> None:
    errors = [BadInput("x can be no key"), Unreachable("ask again")]
    rows = told(lambda parent, number: parent.reply(number, [{"x": 1.0}, *map(refusal, errors)]))
    assert rows[0] == {"x": 1.0}
    for row, error in zip(rows[1:], errors, strict=True):
        assert (type(row), row.detail) == (type(error), error.detail)
    assert rows[1].field == "entities"


@pytest.mark.parametrize("error", [BadInput("no key"), NotFound("no service s"), Unreachable("gone: for good")])
def test_an_error_of_all_rows_is_what_it_was(error: MaestroError) -> None:
    with pytest.raises(type(error)) as raised:
        told(lambda parent, number: parent.fail(number, refusal(error)))
    assert raised.value.detail == error.detail


@pytest.mark.parametrize("key", [10**30, -(10**30)])
def test_a_key_that_the_channel_cannot_carry_is_no_key(key: int) -> None:
    with pytest.raises(BadInput, match="out of range"):
        told(lambda parent, number: parent.reply(number, [{"x": 1.0}]), 1, key)


def test_silence_and_a_parent_that_has_gone_are_the_stores_failure() -> None:
    answers: list[Answer] = [lambda parent, number: None, lambda parent, number: parent.close()]
    for answer in answers:
        with pytest.raises(Unreachable) as raised:
            told(answer)
        assert raised.value.extra["component"] == "feature store"
