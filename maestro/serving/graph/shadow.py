"""A shadow: the primary answers, the mirror gets a copy and is never waited for."""

from __future__ import annotations

import math
import random
from dataclasses import replace
from typing import Any

from maestro.core.contract import ModelContract
from maestro.core.errors import MaestroError
from maestro.core.graph import ShadowNode
from maestro.serving.graph._base import Answer, Build, Call

MAX_COPIES = 64
"""Copies under way at once; when the mirror is slower than the traffic the rest are not made."""


class ShadowRunner:
    """Copies a fraction of the requests, after the primary has answered, in the mirror's own thread, and counts by row how both answers compare.

    Results: `agree` (numbers up to rounding), `differ`, `failed` (the mirror gave no answer), `dropped` (no copy was made).
    """

    def __init__(self, name: str, node: ShadowNode, build: Build) -> None:
        self.name = name
        self._primary = build.node(node.primary)
        self._mirror = build.node(node.mirror)
        self._fraction = node.fraction
        self._spawn = build.spawn
        self._metrics = build.metrics
        self._model = build.graph.metadata.name
        self._under_way = 0
        self._random = random.Random()  # noqa: S311 - which requests are copied is no secret
        self.version = self._primary.version

    @property
    def contracts(self) -> tuple[ModelContract, ...]:
        """The primary's first."""
        return self._primary.contracts + self._mirror.contracts

    async def answer(self, call: Call) -> Answer:
        """The primary's answer."""
        answer: Answer | None = None
        try:
            answer = await self._primary.answer(call)
            return answer
        finally:
            if call.first and self._random.random() < self._fraction:
                if self._under_way < MAX_COPIES:
                    self._under_way += 1
                    self._spawn(self._copy(replace(call, offload=True, experiment=None), answer))
                else:
                    self._count("dropped", len(call.table))

    async def _copy(self, call: Call, answer: Answer | None) -> None:
        try:
            copied = await self._mirror.answer(call)
        except MaestroError:
            self._count("failed", len(call.table))  # as the mirror's arm has counted it
            return
        finally:
            self._under_way -= 1
        if answer is None:
            return  # the primary has failed: there is no pair
        same = sum(map(_agree, answer.prediction.values, copied.prediction.values))
        self._count("agree", same)
        self._count("differ", len(call.table) - same)

    def _count(self, result: str, rows: int) -> None:
        self._metrics.shadow(self._model, self.name, result, rows)


def _agree(one: Any, other: Any) -> bool:
    if isinstance(one, float) and isinstance(other, int | float):
        return math.isclose(one, other, rel_tol=1e-6, abs_tol=1e-9)
    return bool(one == other)
