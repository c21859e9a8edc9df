"""A fallback: the first node that answers."""

from __future__ import annotations

from maestro.core.contract import ModelContract
from maestro.core.errors import MaestroError
from maestro.core.graph import FallbackNode
from maestro.serving.graph._base import Answer, Build, Call, outcome_of


class FallbackRunner:
    """Tries its nodes in order; the answer says which one stood in."""

    def __init__(self, name: str, node: FallbackNode, build: Build) -> None:
        self.name = name
        self._nodes = [build.node(member) for member in node.nodes]
        self.version = self._nodes[0].version

    @property
    def contracts(self) -> tuple[ModelContract, ...]:
        """Those of its nodes."""
        return tuple(contract for member in self._nodes for contract in member.contracts)

    async def answer(self, call: Call) -> Answer:
        """Ask until one answers; the last failure is the caller's when none does."""
        first, *others = self._nodes
        try:
            return await first.answer(call)
        except MaestroError as error:
            failure = error
        for node in others:
            try:
                answer = await node.answer(call.stand_in())
            except MaestroError as error:
                last = error
                continue
            return Answer(answer.prediction, answer.version, self.name, node.name, failed=outcome_of(failure))
        raise last from failure
