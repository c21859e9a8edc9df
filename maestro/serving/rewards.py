"""Rewards that arrive later: checked, made durable, and joined to their exposure when the log is read."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from maestro.core.errors import BadInput, NotFound
from maestro.core.graph import BanditNode, InferenceGraph, SplitNode
from maestro.core.model import format_time
from maestro.serving.dataplane import DataPlane
from maestro.serving.journal import Journal
from maestro.serving.units import UnitHasher

FILE = "rewards.jsonl"
"""In `$MAESTRO_HOME/exposures/<model>/`: `{"i": reward_id}` or `{"e": experiment, "u": names of the unit}`, with `"r": reward, "t": time`."""


@dataclass(frozen=True, slots=True)
class SentReward:
    """A reward as a caller sends it: by `reward_id`, or by `experiment` and `unit` (the value that the node sticks to)."""

    model: str
    reward: float
    at: datetime
    reward_id: str | None = None
    experiment: str | None = None
    unit: str | None = None


class RewardIntake:
    """Takes batches of rewards; a batch is accepted as a whole or not at all. The first reward of an exposure counts.

    Args:
        folder: `$MAESTRO_HOME/exposures`.
    """

    def __init__(self, folder: Path, plane: DataPlane, hasher: UnitHasher) -> None:
        self._folder = folder
        self._plane = plane
        self._hasher = hasher
        self._journals: dict[str, Journal] = {}
        self._one_at_a_time = asyncio.Lock()

    async def accept(self, sent: Sequence[SentReward]) -> int:
        """How many were taken; they are durable when it returns.

        Raises:
            NotFound: a model is not served here, or has no such experiment.
            BadInput: a reward is not one that its experiment can learn from; names the row.
            Unreachable: the disk does not take them.
        """
        batches: dict[str, list[dict[str, Any]]] = {}
        for row, item in enumerate(sent):
            batches.setdefault(item.model, []).append(self._record(row, item))
        async with self._one_at_a_time:
            for model, records in batches.items():
                journal = self._journals.get(model)
                if journal is None:
                    journal = self._journals[model] = Journal(self._folder / model / FILE)
                await asyncio.to_thread(_write, journal, records)
        return len(sent)

    def close(self) -> None:
        """Close the journals."""
        for journal in self._journals.values():
            journal.close()

    def _record(self, row: int, item: SentReward) -> dict[str, Any]:
        where = f"rewards[{row}]"
        served = self._plane.graphs.get(item.model)
        if served is None:
            raise NotFound(
                f"{where}: no model {item.model[:128]!r} is served here",
                field=f"{where}.model",
                remedy=f"send rewards of: {', '.join(sorted(self._plane.graphs)) or 'none is served yet'}",
            )
        if (item.reward_id is None) == (item.unit is None) or (item.unit is None) != (item.experiment is None):
            raise BadInput(
                f"{where}: send either reward_id, or experiment and unit",
                field=f"{where}.reward_id",
                remedy="send the x-maestro-reward-id of the answer, or the key that the node sticks to",
            )
        known = dict(experiments(served.graph))
        name = item.experiment or str(item.reward_id).partition(":")[0]
        if name not in known:
            raise NotFound(
                f"{where}: model {item.model!r} has no experiment {name[:80]!r}",
                field=f"{where}.experiment",
                remedy=f"its experiments are: {', '.join(sorted(known)) or 'none'}",
            )
        if not math.isfinite(item.reward) or (known[name] and not 0.0 <= item.reward <= 1.0):
            raise BadInput(
                f"{where}: a reward of {item.reward:g} is none that {name!r} can learn from",
                field=f"{where}.reward",
                remedy="send a number from 0 to 1",
            )
        record: dict[str, Any] = {"r": float(item.reward), "t": format_time(item.at)}
        if item.unit is not None:
            return {"e": name, "u": self._hasher.names(item.unit)} | record
        if str(item.reward_id).count(":") < 3:
            raise BadInput(
                f"{where}: {str(item.reward_id)[:80]!r} is no reward id",
                field=f"{where}.reward_id",
                remedy="send the x-maestro-reward-id of the answer",
            )
        return {"i": item.reward_id} | record


def experiments(graph: InferenceGraph) -> Iterator[tuple[str, bool]]:
    """The experiments of a graph, and whether a bandit learns from them."""
    for node in graph.nodes.values():
        if isinstance(node, BanditNode):
            yield node.experiment, True
        elif isinstance(node, SplitNode) and node.experiment:
            yield node.experiment, False


def _write(journal: Journal, records: list[dict[str, Any]]) -> None:
    journal.append(records)
    journal.sync()
