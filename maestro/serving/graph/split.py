"""A weighted split: sticky by key, each arm's failures its own, the fallback arm answers for an arm that failed."""

from __future__ import annotations

import asyncio
import secrets
from collections import defaultdict
from dataclasses import replace

from maestro.core.contract import ModelContract
from maestro.core.errors import MaestroError
from maestro.core.graph import FULL_WEIGHT, SplitNode
from maestro.decisions.assignment import assign
from maestro.serving.graph._base import Answer, Build, Call, GraphNode, outcome_of
from maestro.serving.graph.rows import merged


def fresh_draw() -> str:
    """What an anonymous request is assigned by: from a source that the caller cannot predict."""
    return secrets.token_hex(8)


class SplitRunner:
    """Rows of one request go together when they are about one unit (or about nobody), else each by its own unit."""

    def __init__(self, name: str, node: SplitNode, build: Build) -> None:
        self.name = name
        self.key = node.key
        self._salt = node.salt
        self._experiment = node.experiment
        self._shares = node.arms
        self._propensity = {arm.node: arm.weight / FULL_WEIGHT for arm in node.arms}
        self.arms: dict[str, GraphNode] = {arm.node: build.node(arm.node) for arm in node.arms}
        self._fallback = build.node(node.fallback) if node.fallback else None
        self.version = "+".join(arm.version for arm in self.arms.values())

    @property
    def contracts(self) -> tuple[ModelContract, ...]:
        """The fallback's first: what callers rely on."""
        members = ([self._fallback] if self._fallback else []) + list(self.arms.values())
        return tuple(contract for member in members for contract in member.contracts)

    @property
    def promised(self) -> ModelContract | None:
        """The contract that callers rely on: the fallback's, else the first arm's; None when only remotes hold one."""
        contracts = self.contracts
        return contracts[0] if contracts else None

    def arm_contracts(self) -> list[tuple[str, ModelContract]]:
        """What each arm asks of its rows."""
        return [(name, arm.contracts[0]) for name, arm in self.arms.items() if arm.contracts]

    async def answer(self, call: Call) -> Answer:
        """Choose and ask."""
        if len(call.units) == 1:
            return await self._one(self.choose(call.units[0].key(self.key), call.draw), call)
        groups: dict[str, list[int]] = defaultdict(list)
        anonymous = self.choose(None, call.draw)
        for row, unit in enumerate(call.units):
            key = unit.key(self.key)
            groups[anonymous if key is None else self.choose(key)].append(row)
        if len(groups) == 1:
            return await self._one(next(iter(groups)), call)
        return await self._several(groups, call)

    def choose(self, key: str | None, draw: str | None = None) -> str:
        """The arm of a key; without one that of `draw`, or of a fresh one."""
        if key is None:
            key = draw or fresh_draw()
        return assign(self._shares, self._salt, key)

    async def _one(self, chosen: str, call: Call) -> Answer:
        try:
            return await self.arms[chosen].answer(self.assigned(chosen, call))
        except MaestroError as failure:
            fallback = self._fallback
            if fallback is None or fallback.name == chosen:
                raise
            try:
                answer = await fallback.answer(call.stand_in())
            except MaestroError as error:
                # The fallback's error is what the caller can act on, unless only the arm has told what is wrong.
                raise error from failure
            return Answer(answer.prediction, answer.version, chosen, fallback.name, failed=outcome_of(failure))

    def assigned(self, chosen: str, call: Call) -> Call:
        """The call as the chosen arm gets it."""
        return replace(
            call,
            experiment=self._experiment or call.experiment,
            propensity=call.propensity * self._propensity[chosen],
            key=self.key if self._experiment else call.key,
        )

    async def _several(self, groups: dict[str, list[int]], call: Call) -> Answer:
        parts = await asyncio.gather(
            *(
                self._one(
                    chosen,
                    replace(call, table=call.table.take(rows), units=tuple(call.units[row] for row in rows)),
                )
                for chosen, rows in groups.items()
            )
        )
        return merged(list(groups.values()), parts)
