"""What a rollout is judged by: each arm's own counters, and distinct entities with their first answer and their label.

Of one arm and version, a unit is *exposed* from its first attempt on, whatever came of it; it is *eligible* when the arm answered it longer ago
than the label wait (an attempt that failed has nothing that a label could judge: it counts as an error); *labelled* when its label is here
too; *wrong* when the first answer differs from the first label. It has *entered* the arm of its first attempt since the present revision began to
answer. Units that any version of the graph was trained on count nowhere. Answers given
in another arm's place are no evidence.
"""

from __future__ import annotations

import secrets
from array import array
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maestro.core.clock import Clock
from maestro.core.errors import Unreachable
from maestro.core.model import format_time
from maestro.core.seams import ArmReading, Reading
from maestro.serving.forgetting import Forgetting
from maestro.serving.graph._base import Observation
from maestro.serving.journal import Journal
from maestro.serving.metrics import ServerMetrics
from maestro.serving.units import UnitHasher, entity_number

MAX_UNITS = 2_000_000
"""Per model; further units are dropped and counted."""

_UNLABELLED, _RIGHT, _WRONG = -1, 0, 1


class _ArmUnits:
    """The units of one arm and version, in the order in which they came."""

    def __init__(self) -> None:
        self.index: dict[str, int] = {}
        self.entity = array("Q")
        self.answered = array("d")  # seconds since 1970; NaN until it has an answer
        self.verdict = array("b")
        self.answer: list[str | None] = []

    def add(self, unit: str, entity: int) -> int:
        position = len(self.answer)
        self.index[unit] = position
        self.entity.append(entity)
        self.answered.append(np.nan)
        self.verdict.append(_UNLABELLED)
        self.answer.append(None)
        return position

    def count(self, before: float, trained: NDArray[np.uint64]) -> dict[str, int]:
        if not self.answer:
            return {"exposed": 0, "eligible": 0, "labelled": 0, "wrong": 0}
        entities = np.array(self.entity, dtype=np.uint64)
        counted = ~np.isin(entities, trained) if len(trained) else np.ones(len(entities), dtype=bool)
        eligible = counted & (np.array(self.answered) <= before)  # NaN compares false
        verdict = np.array(self.verdict)
        return {
            "exposed": int(counted.sum()),
            "eligible": int(eligible.sum()),
            "labelled": int((eligible & (verdict != _UNLABELLED)).sum()),
            "wrong": int((eligible & (verdict == _WRONG)).sum()),
        }


class _ModelUnits:
    def __init__(self, folder: Path) -> None:
        self.answers = Journal(folder / "answers.jsonl")
        self.labels_journal = Journal(folder / "labels.jsonl")
        self.arms: dict[tuple[str, str], _ArmUnits] = {}
        self.labels: dict[str, str] = {}
        self.size = 0
        self.revision = 0
        self.entered: dict[str, set[int]] = {}
        self.seen: set[int] = set()
        self.forgetting = Forgetting()

    def begin(self, revision: int) -> None:
        """Count the units that enter from now on."""
        self.forgetting.add(self.seen, *self.entered.values())
        self.revision, self.entered, self.seen = revision, {}, set()

    def enter(self, arm: str, entity: int) -> None:
        """Count a unit into the arm that had it first under this revision."""
        if entity not in self.seen:
            self.seen.add(entity)
            self.entered.setdefault(arm, set()).add(entity)


@dataclass(frozen=True, slots=True)
class Label:
    """What turned out to be true of an entity (by its key text)."""

    entity: str
    value: str
    at: datetime


@dataclass(frozen=True, slots=True)
class LabelReceipt:
    """What became of a batch of labels: all are durable, `joined` met an answer, `duplicates` were there already."""

    accepted: int
    joined: int
    duplicates: int


class Evidence:
    """Keeps every model's units, and rebuilds them from their journals after a crash.

    All methods belong to the event loop's thread but `read` and `sync_labels`. Answers reach the kernel as they are given; accepting labels
    makes the answers durable first, then the labels, so that no accepted label is ever without its answer.

    Args:
        folder: `$MAESTRO_HOME/exposures`; one folder a model.

    `catch_up` is called before labels are joined and before a reading: what other processes have seen must be here first.
    """

    def __init__(
        self, folder: Path, hasher: UnitHasher, metrics: ServerMetrics, clock: Clock, *, max_units: int = MAX_UNITS
    ) -> None:
        self.epoch = secrets.token_hex(8)
        self.dropped = 0
        self._folder = folder
        self._hasher = hasher
        self._metrics = metrics
        self._clock = clock
        self._max_units = max_units
        self._models: dict[str, _ModelUnits] = {}
        self._read: dict[str, _ModelUnits] = {}
        self.catch_up: Callable[[], None] = lambda: None

    def read(self, model: str) -> None:
        """Of a model that is new here, read what earlier processes wrote. May be called from a worker thread, once at a time for a model."""
        if model in self._models or model in self._read:
            return
        state = _ModelUnits(self._folder / model)
        for record in state.labels_journal.read():
            state.labels.setdefault(record["u"], record["l"])
        for record in state.answers.read():
            units = state.arms.setdefault((record["a"], record["v"]), _ArmUnits())
            self._note(state, units, record["u"], record["e"], record["t"], record["y"])
        self._read[model] = state

    def open(self, model: str, revision: int) -> None:
        """Begin a revision, at once where the model is known or has been read."""
        if model not in self._models:
            self.read(model)
            self._models[model] = self._read.pop(model)
        self._models[model].begin(revision)

    def observe(self, model: str, seen: Observation) -> None:
        """Count an arm's first attempt for each unit that it is the first answer of."""
        state = self._models[model]
        state.forgetting.some(len(seen.units))
        units = state.arms.get((seen.arm, seen.version))
        if units is None:
            units = state.arms[seen.arm, seen.version] = _ArmUnits()
        if len(seen.units) == 1 and seen.units[0].entity is None:
            return
        records: list[dict[str, Any]] = []
        for row, unit in enumerate(seen.units):
            if unit.entity is None:
                continue
            entity = entity_number(unit.entity)
            if seen.revision == state.revision and len(state.seen) < self._max_units:
                state.enter(seen.arm, entity)
            name = self._known_name(units, unit.entity)
            position = units.index.get(name)
            value = None if seen.prediction is None else value_text(seen.prediction.values[row])
            if position is not None and (value is None or units.answer[position] is not None):
                continue
            if position is None and state.size >= self._max_units:
                self.dropped += 1
                continue
            now = self._clock.now().timestamp()
            records.append({"u": name, "e": entity, "a": seen.arm, "v": seen.version, "t": now, "y": value})
            if self._note(state, units, name, entity, now, value):
                self._count_label(model, seen.version, units, name)
        if records:
            try:
                state.answers.append(records)
            except Unreachable:
                self.dropped += len(records)

    def accept(self, model: str, labels: Iterable[Label]) -> tuple[list[dict[str, Any]], int]:
        """The records of the labels that are new, and how many were here already; nothing is counted yet."""
        self.catch_up()
        state = self._models[model]
        records: list[dict[str, Any]] = []
        fresh: set[str] = set()
        duplicates = 0
        for label in labels:
            names = self._hasher.names(label.entity)
            known = [name for name in names if name in state.labels or name in fresh]
            if known:
                duplicates += 1
                continue
            name = next((name for name in names if any(name in units.index for units in state.arms.values())), names[0])
            fresh.add(name)
            records.append({"u": name, "l": label.value, "t": format_time(label.at)})
        return records, duplicates

    def sync_labels(self, model: str, records: list[dict[str, Any]]) -> None:
        """Make answers, then labels durable; may be called from a worker thread, one at a time.

        Raises:
            Unreachable: the disk did not take them; none is accepted.
        """
        state = self._models[model]
        state.answers.sync()
        if records:
            state.labels_journal.append(records)
            state.labels_journal.sync()

    def join(self, model: str, records: list[dict[str, Any]]) -> int:
        """Count durable labels; how many met an answer."""
        state = self._models[model]
        joined = 0
        for record in records:
            name = record["u"]
            if name in state.labels:
                continue
            state.labels[name] = record["l"]
            met = False
            for (_, version), units in state.arms.items():
                position = units.index.get(name)
                if position is not None and units.answer[position] is not None:
                    met = True
                    self._judge(units, position, record["l"])
                    self._count_label(model, version, units, name)
            joined += met
        return joined

    def reading(
        self,
        model: str,
        *,
        revision: int,
        arms: Iterable[tuple[str, str]],
        trained: NDArray[np.uint64],
        label_wait_s: float,
        dropped: int,
    ) -> Reading:
        """Every arm's counters now.

        Args:
            arms: (arm, version) of the graph that is served.
            trained: the entities that any of its versions was trained on.
            dropped: exposures that were lost elsewhere.
        """
        self.catch_up()
        state = self._models[model]
        now = self._clock.now()
        before = now.timestamp() - label_wait_s
        readings: dict[str, ArmReading] = {}
        for arm, version in arms:
            requests, latency = self._metrics.reading(model, version, arm)
            units = state.arms.get((arm, version)) or _ArmUnits()
            readings[arm] = ArmReading(
                version=version,
                requests=requests,
                latency=latency,
                entered=_untrained(state.entered.get(arm, set()), trained),
                **units.count(before, trained),
            )
        return Reading(at=now, epoch=self.epoch, revision=revision, arms=readings, dropped=dropped + self.dropped)

    def close(self) -> None:
        """Close the journals."""
        for state in (*self._models.values(), *self._read.values()):
            state.answers.close()
            state.labels_journal.close()

    def _known_name(self, units: _ArmUnits, entity: str) -> str:
        names = self._hasher.names(entity)
        return next((name for name in names if name in units.index), names[0])

    def _note(self, state: _ModelUnits, units: _ArmUnits, name: str, entity: int, at: float, value: str | None) -> bool:
        """Remember an attempt; whether its label was here before it."""
        position = units.index.get(name)
        if position is None:
            position = units.add(name, entity)
            state.size += 1
        if value is None or units.answer[position] is not None:
            return False
        units.answer[position] = value
        units.answered[position] = at
        label = state.labels.get(name)
        if label is None:
            return False
        self._judge(units, position, label)
        return True

    def _judge(self, units: _ArmUnits, position: int, label: str) -> None:
        units.verdict[position] = _RIGHT if units.answer[position] == label else _WRONG

    def _count_label(self, model: str, version: str, units: _ArmUnits, name: str) -> None:
        correct = units.verdict[units.index[name]] == _RIGHT
        self._metrics.labels[model, version, "true" if correct else "false"] += 1


def _untrained(entities: set[int], trained: NDArray[np.uint64]) -> int:
    if not len(trained) or not entities:
        return len(entities)
    return int((~np.isin(np.fromiter(entities, dtype=np.uint64, count=len(entities)), trained)).sum())


def value_text(value: Any) -> str:
    """A class as text, so that an answer and a label compare however each was written.

    >>> value_text(1), value_text(1.0), value_text(True), value_text("benign")
    ('1', '1', '1', 'benign')
    """
    if isinstance(value, bool):
        return str(int(value))
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)
