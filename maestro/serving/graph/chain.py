"""A chain: the output of each step is the input of the next."""

from __future__ import annotations

from dataclasses import replace

from maestro.core.contract import ModelContract
from maestro.core.errors import BadInput
from maestro.core.graph import ChainNode
from maestro.serving.graph._base import Answer, Build, Call
from maestro.serving.runtimes._base import ModelFailed
from maestro.serving.table import Table


class ChainRunner:
    """A step's value is the one feature of the next step; a list of values is its features in order."""

    def __init__(self, name: str, node: ChainNode, build: Build) -> None:
        self.name = name
        self._steps = [build.node(step) for step in node.steps]
        self.version = "+".join(step.version for step in self._steps)

    @property
    def contracts(self) -> tuple[ModelContract, ...]:
        """The first step's first: what callers must satisfy."""
        return tuple(contract for step in self._steps for contract in step.contracts)

    async def answer(self, call: Call) -> Answer:
        """Ask one after the other."""
        answer = await self._steps[0].answer(call)
        versions = [answer.version]
        for step in self._steps[1:]:
            rows = [value if isinstance(value, list) else [value] for value in answer.prediction.values]
            try:
                answer = await step.answer(
                    replace(call, table=Table(rows=rows, where=f"output of the step before {step.name!r}"))
                )
            except BadInput as error:
                # The caller's rows were fine: the steps do not fit each other.
                raise ModelFailed(
                    f"node {self.name!r}: {error.detail}", remedy="correct the chain in the graph"
                ) from error
            versions.append(answer.version)
        return Answer(answer.prediction, "+".join(versions), self.name)
