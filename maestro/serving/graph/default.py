"""A default answer: the same value for every row, when nothing better can be had."""

from __future__ import annotations

from maestro.core.contract import ModelContract
from maestro.core.graph import DefaultNode
from maestro.serving.graph._base import Answer, Call
from maestro.serving.table import Prediction

VERSION = "default"


class DefaultRunner:
    """Cannot fail; stands last in a fallback."""

    def __init__(self, name: str, node: DefaultNode) -> None:
        self.name = name
        self.version = VERSION
        self._answer = node.answer

    @property
    def contracts(self) -> tuple[ModelContract, ...]:
        """None: it looks at no row."""
        return ()

    async def answer(self, call: Call) -> Answer:
        """The value, once a row."""
        return Answer(Prediction([self._answer] * len(call.table)), self.version, self.name)
