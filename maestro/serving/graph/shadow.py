"""A shadow: the primary answers, the mirror gets a copy and is never waited for."""

from __future__ import annotations

import random
from dataclasses import replace

from maestro.core.contract import ModelContract
from maestro.core.errors import MaestroError
from maestro.core.graph import ShadowNode
from maestro.serving.graph._base import Answer, Build, Call

MAX_COPIES = 64
"""Copies under way at once; when the mirror is slower than the traffic the rest are not made."""


class ShadowRunner:
    """Copies a fraction of the requests, after the primary has answered, in the mirror's own thread."""

    def __init__(self, name: str, node: ShadowNode, build: Build) -> None:
        self.name = name
        self._primary = build.node(node.primary)
        self._mirror = build.node(node.mirror)
        self._fraction = node.fraction
        self._spawn = build.spawn
        self._under_way = 0
        self._random = random.Random()  # noqa: S311 - which requests are copied is no secret
        self.version = self._primary.version

    @property
    def contracts(self) -> tuple[ModelContract, ...]:
        """The primary's first."""
        return self._primary.contracts + self._mirror.contracts

    async def answer(self, call: Call) -> Answer:
        """The primary's answer."""
        try:
            return await self._primary.answer(call)
        finally:
            if call.first and self._under_way < MAX_COPIES and self._random.random() < self._fraction:
                self._under_way += 1
                self._spawn(self._copy(replace(call, offload=True, experiment=None)))

    async def _copy(self, call: Call) -> None:
        try:
            await self._mirror.answer(call)
        except MaestroError:
            return  # the mirror's arm has counted it
        finally:
            self._under_way -= 1
