"""Batches for a model that the event loop must not wait for."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import ClassVar

import numpy as np
import pytest

from maestro.core.errors import TooManyRequests
from maestro.serving.batching import Batcher
from maestro.serving.runtimes import Answers, ModelFailed, ModelTimeout
from maestro.serving.table import Batch, Prediction


class Slow:
    """Doubles its rows when it is let; fails on a batch that holds 13."""

    kind: ClassVar[str] = "slow"
    quick = inline = False
    path = "slow"

    def __init__(self) -> None:
        self.go = threading.Event()
        self.sizes: list[int] = []

    def cost_us(self, rows: int) -> float:
        """Unknown."""
        return float("inf")

    def load(self) -> None:
        """Nothing."""

    def warm_up(self, sample: Batch) -> None:
        """Nothing."""

    def answer(self, batch: Batch, timeout_s: float) -> Answers:
        """In arrays."""
        return Answers(np.array(self.predict(batch, timeout_s).values))

    def predict(self, batch: Batch, timeout_s: float) -> Prediction:
        """Twice the number."""
        assert self.go.wait(5)
        self.sizes.append(batch.size)
        values = batch.column(0)
        if (values == 13).any():
            raise ModelFailed("it does not like 13", remedy="none")
        return Prediction((values * 2).tolist())

    def close(self) -> None:
        """Nothing."""


def row(value: float) -> Batch:
    return Batch(("x",), ("float64",), 1, np.array([[value]]))


def test_what_waits_goes_together_and_only_the_bad_one_fails() -> None:
    async def run() -> None:
        model = Slow()
        with ThreadPoolExecutor(1) as threads:
            batcher = Batcher(model, threads, limit=100)
            first = asyncio.ensure_future(batcher.answer(row(1), 5))
            await asyncio.sleep(0.01)
            rest = [asyncio.ensure_future(batcher.answer(row(value), 5)) for value in (2, 13, 4)]
            await asyncio.sleep(0.01)
            assert batcher.depth == 3
            model.go.set()
            answers = await asyncio.gather(first, *rest, return_exceptions=True)
        assert [a.values if isinstance(a, Prediction) else type(a) for a in answers] == [[2], [4], ModelFailed, [8]]
        assert model.sizes == [1, 3, 1, 1, 1]

    asyncio.run(run())


def test_a_queue_has_an_end_and_who_has_gone_is_not_asked_for() -> None:
    async def run() -> None:
        model = Slow()
        with ThreadPoolExecutor(1) as threads:
            batcher = Batcher(model, threads, limit=2)
            first = asyncio.ensure_future(batcher.answer(row(1), 5))
            await asyncio.sleep(0.01)
            late = asyncio.ensure_future(batcher.answer(row(2), 0.05))
            other = asyncio.ensure_future(batcher.answer(row(3), 5))
            await asyncio.sleep(0)
            with pytest.raises(TooManyRequests):
                await batcher.answer(row(4), 5)
            with pytest.raises(ModelTimeout):
                await late
            model.go.set()
            assert ((await first).values, (await other).values) == ([2], [6])
        assert model.sizes == [1, 1]

    asyncio.run(run())
