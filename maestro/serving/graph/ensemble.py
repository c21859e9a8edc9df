"""An ensemble: every member answers, the answers are combined."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from dataclasses import replace
from typing import Any

import numpy as np

from maestro.core.contract import ModelContract
from maestro.core.errors import BadInput
from maestro.core.graph import EnsembleNode
from maestro.serving.graph._base import Answer, Build, Call, GraphNode
from maestro.serving.runtimes._base import ModelFailed
from maestro.serving.runtimes.onnx import class_value
from maestro.serving.table import Matrix, Prediction, Table


class EnsembleRunner:
    """Mean and weighted mean are of class scores for classifiers and of values otherwise; a vote is of values, ties to the earlier member."""

    def __init__(self, name: str, node: EnsembleNode, build: Build) -> None:
        self.name = name
        self._members = [build.node(member) for member in node.members]
        self._combine = node.combine
        self._meta = build.node(node.meta) if node.meta else None
        weights = node.weights if node.combine == "weighted" else None
        self._weights = np.array(weights if weights is not None else [1.0] * len(self._members))
        if (self._weights < 0).any() or self._weights.sum() <= 0:
            raise BadInput(
                f"node {name!r}: weights are not negative and not all zero",
                field=f"nodes.{name}.weights",
                remedy="correct them",
            )
        parts = [*self._members, *([self._meta] if self._meta else [])]
        self.version = "+".join(part.version for part in parts)

    @property
    def contracts(self) -> tuple[ModelContract, ...]:
        """Those of the members."""
        return tuple(contract for member in self._members for contract in member.contracts)

    async def answer(self, call: Call) -> Answer:
        """Ask all at once and combine."""
        answers = await asyncio.gather(*(member.answer(call) for member in self._members))
        predictions = [answer.prediction for answer in answers]
        if self._meta is not None:
            return await self._stack(self._meta, call, answers)
        combined = self._vote(predictions) if self._combine == "vote" else self._average(predictions)
        return Answer(combined, "+".join(answer.version for answer in answers), self.name)

    async def _stack(self, meta: GraphNode, call: Call, answers: list[Answer]) -> Answer:
        """The meta node's answer on the members' class scores, or on their values where they give none."""
        columns: list[list[Any]] = []
        for answer in answers:
            scores = answer.prediction.scores
            columns += [list(answer.prediction.values)] if scores is None else scores.T.tolist()
        table = Table(
            rows=[list(row) for row in zip(*columns, strict=True)], where=f"answers of {self.name!r}'s members"
        )
        try:
            last = await meta.answer(replace(call, table=table))
        except BadInput as error:
            # The caller's rows were fine: members and meta node do not fit each other.
            raise ModelFailed(
                f"node {self.name!r}: {error.detail}", remedy="correct the ensemble in the graph"
            ) from error
        versions = "+".join([*(answer.version for answer in answers), last.version])
        return Answer(last.prediction, versions, self.name)

    def _vote(self, predictions: list[Prediction]) -> Prediction:
        values: list[Any] = []
        for row in zip(*(prediction.values for prediction in predictions), strict=True):
            counts: dict[str, int] = defaultdict(int)
            for value in row:
                counts[str(value)] += 1
            winner = max(
                counts, key=lambda text: counts[text]
            )  # the first of equals: dictionaries keep the members' order
            values.append(next(value for value in row if str(value) == winner))
        return Prediction(values)

    def _average(self, predictions: list[Prediction]) -> Prediction:
        weights = self._weights / self._weights.sum()
        output = self.contracts[0].output if self.contracts else None
        if output is not None and output.kind == "classification":
            scores: list[Matrix] = [p.scores for p in predictions if p.scores is not None]
            classes = output.classes
            if classes is None or len(scores) < len(predictions) or any(s.shape[1] != len(classes) for s in scores):
                raise ModelFailed(
                    f"node {self.name!r}: a mean of classifiers needs the scores of every class from every member",
                    remedy="combine by vote, or export the members to ONNX with their probabilities",
                )
            mean = np.tensordot(weights, np.stack(scores), axes=1)
            return Prediction([class_value(classes[i]) for i in mean.argmax(axis=1)], mean)
        try:
            stacked = np.array([prediction.values for prediction in predictions], dtype=np.float64)
        except (TypeError, ValueError):
            raise ModelFailed(
                f"node {self.name!r}: members do not answer with numbers", remedy="combine by vote"
            ) from None
        return Prediction(np.tensordot(weights, stacked, axes=1).tolist())
