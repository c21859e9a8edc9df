"""A bandit: the arm of each unit is chosen by a policy on an immutable snapshot, and the log says with what probability."""

from __future__ import annotations

import asyncio
import secrets
from collections import defaultdict
from dataclasses import replace

import numpy as np

from maestro.core.contract import ModelContract
from maestro.core.errors import BadInput, MaestroError
from maestro.core.exposure import reward_id_of
from maestro.core.graph import BanditNode
from maestro.decisions.bandits.decide import Decider
from maestro.decisions.bandits.first import context_features, first_snapshot
from maestro.serving.contract import Validator
from maestro.serving.graph._base import Answer, Build, Call, GraphNode, outcome_of
from maestro.serving.graph.drawn import Drawn
from maestro.serving.graph.rows import merged


class BanditRunner:
    """Rows of one request go together when they are about one unit, else each by its own.

    A unit is the value of the node's key, as the log names it; without one every request is a unit of its own. As long as the snapshot stands, a unit
    (with the same context) gets the same arm. A contextual policy acts on the numbers that the contract lets out, and for a unit of several rows on
    the first row's.
    """

    def __init__(self, name: str, node: BanditNode, build: Build) -> None:
        if build.policies is None:
            raise BadInput(
                f"node {name!r} is a bandit, and this server has no place for policy snapshots",
                field=f"nodes.{name}.type",
                remedy="use a split with fixed weights",
            )
        self.name = name
        self.key = node.key
        self.experiment = node.experiment
        self.arms: dict[str, GraphNode] = {arm: build.node(arm) for arm in node.arms}
        self._fallback = build.node(node.fallback) if node.fallback else None
        self.version = "+".join(arm.version for arm in self.arms.values())
        contracts = [arm.contracts[0] if arm.contracts else None for arm in self.arms.values()]
        self._contract = contracts[0]
        first = first_snapshot(node, self._contract)
        self._validator: Validator | None = None
        if first.low:
            if any(each is None or _context_of(each) != _context_of(contracts[0]) for each in contracts):
                raise BadInput(
                    f"node {name!r}: {node.policy} needs the same context for every arm",
                    field=f"nodes.{name}.arms",
                    remedy="give the arms contracts with the same numeric features",
                )
            assert self._contract is not None  # noqa: S101 - a context comes from a contract
            self._validator = Validator(self._contract)  # silent: the arm's own counts what is out of range
            self._positions = [position for position, _ in context_features(self._contract)]
        self._revision = build.graph.metadata.revision
        self._name_of = build.policies.name
        self._source = build.policies.source(build.graph.metadata.name, first)

    @property
    def contracts(self) -> tuple[ModelContract, ...]:
        """The fallback's first: what callers rely on."""
        members = ([self._fallback] if self._fallback else []) + list(self.arms.values())
        return tuple(contract for member in members for contract in member.contracts)

    @property
    def promised(self) -> ModelContract | None:
        """The contract that callers rely on."""
        contracts = self.contracts
        return contracts[0] if contracts else None

    def arm_contracts(self) -> list[tuple[str, ModelContract]]:
        """What each arm asks of its rows."""
        return [(name, arm.contracts[0]) for name, arm in self.arms.items() if arm.contracts]

    async def answer(self, call: Call) -> Answer:
        """Choose and ask."""
        decider = self._source.decider()
        keys = [unit.key(self.key) for unit in call.units]
        # With no key every request is a unit of its own, named by a source that the caller cannot predict.
        names = [f"request-{secrets.token_hex(8)}" if key is None else self._name_of(key) for key in keys]
        contexts: list[tuple[float, ...] | None] = [None] * len(names)
        if self._validator is not None:
            contexts = self._contexts(call)[: len(names)]
        arms, drawn = self._decide(decider, names, contexts)
        groups: dict[str, list[int]] = defaultdict(list)
        for row, arm in enumerate(arms):
            groups[arm].append(row)
        if len(groups) == 1:
            return await self._one(arms[0], call, drawn)
        parts = await asyncio.gather(
            *(
                self._one(
                    arm,
                    replace(call, table=call.table.take(rows), units=tuple(call.units[row] for row in rows)),
                    drawn.take(rows),
                )
                for arm, rows in groups.items()
            )
        )
        return merged(list(groups.values()), parts)

    async def _one(self, chosen: str, call: Call, drawn: Drawn) -> Answer:
        assigned = replace(call, experiment=self.experiment, key=self.key, drawn=drawn)
        reward_id = None
        node = self.arms[chosen]
        if len(drawn.names) == 1:
            reward_id = reward_id_of(self.experiment, drawn.names[0], node.version, self._revision)
        try:
            return replace(await node.answer(assigned), reward_id=reward_id)
        except MaestroError as failure:
            fallback = self._fallback
            if fallback is None or fallback.name == chosen:
                raise
            try:
                answer = await fallback.answer(call.stand_in())
            except MaestroError as error:
                raise error from failure
            return Answer(
                answer.prediction,
                answer.version,
                chosen,
                fallback.name,
                failed=outcome_of(failure),
                reward_id=reward_id,
            )

    def _decide(
        self, decider: Decider, names: list[str], contexts: list[tuple[float, ...] | None]
    ) -> tuple[list[str], Drawn]:
        if len(names) == 1:
            arm, propensity, _ = decider.one(names[0], contexts[0])
            return [arm], Drawn(self.experiment, decider.digest, tuple(names), (propensity,), tuple(contexts))
        known = np.array(contexts, dtype=np.float64) if decider.contextual else None
        decided = decider.many(names, known)
        arms = [decider.names[position] for position in decided.arm.tolist()]
        propensities = tuple(decided.propensity.tolist())
        return arms, Drawn(self.experiment, decider.digest, tuple(names), propensities, tuple(contexts))

    def _contexts(self, call: Call) -> list[tuple[float, ...] | None]:
        assert self._validator is not None  # noqa: S101 - asked for with a context only
        batch = self._validator.validate(call.table)
        columns = [batch.column(position).tolist() for position in self._positions]
        return [tuple(float(value) for value in row) for row in zip(*columns, strict=True)]


def _context_of(contract: ModelContract | None) -> list[tuple[str, str]]:
    return [] if contract is None else [(feature.name, feature.type) for _, feature in context_features(contract)]
