"""Labels that arrive later: checked, made durable, then counted. A label that was acknowledged is never lost."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from maestro.core.contract import ModelContract
from maestro.core.errors import BadInput, NotFound
from maestro.serving.dataplane import DataPlane, key_text
from maestro.serving.evidence import Evidence, Label, LabelReceipt, value_text
from maestro.serving.served import ServedGraph

JUDGED = ("classification", "anomaly")
"""Outputs of which an answer is right or wrong."""


@dataclass(frozen=True, slots=True)
class SentLabel:
    """A label as a caller sends it: `entity` (text, number, or values by entity key) or `unit` (the key that the split sticks to)."""

    model: str
    entity: str | int | dict[str, str | int] | None
    unit: str | int | None
    label: str | int | float | bool
    at: datetime


class LabelIntake:
    """Takes batches of labels; a batch is accepted as a whole or not at all."""

    def __init__(self, plane: DataPlane, evidence: Evidence) -> None:
        self._plane = plane
        self._evidence = evidence
        self._one_at_a_time = asyncio.Lock()

    async def accept(self, sent: Sequence[SentLabel]) -> LabelReceipt:
        """Durable when it returns. Sending a label again changes nothing.

        Raises:
            NotFound: a model is not served here.
            BadInput: an entity or label is not one of the model's.
            Unreachable: the disk does not take them.
        """
        batches: dict[str, list[Label]] = {}
        for row, item in enumerate(sent):
            served = self._plane.graphs.get(item.model)
            if served is None:
                raise NotFound(
                    f"labels[{row}]: no model {item.model[:128]!r} is served here",
                    field=f"labels[{row}].model",
                    remedy=f"send labels of: {', '.join(sorted(self._plane.graphs)) or 'none is served yet'}",
                )
            batches.setdefault(item.model, []).append(_label(row, item, served))
        accepted = joined = duplicates = 0
        async with self._one_at_a_time:
            for model, labels in batches.items():
                records, repeated = self._evidence.accept(model, labels)
                await asyncio.to_thread(self._evidence.sync_labels, model, records)
                joined += self._evidence.join(model, records)
                accepted += len(labels)
                duplicates += repeated
        return LabelReceipt(accepted, joined, duplicates)


def _label(row: int, item: SentLabel, served: ServedGraph) -> Label:
    contract = served.contract
    if contract is not None:
        _check_value(row, item.label, contract)
    field = f"labels[{row}]"
    if (item.entity is None) == (item.unit is None):
        raise BadInput(f"{field}: send either entity or unit", field=f"{field}.entity", remedy="send one of them")
    keys = served.entity_keys
    if not isinstance(item.entity, dict):
        value: Any = item.unit if item.entity is None else item.entity
        return Label(key_text(value, f"{field}.entity"), value_text(item.label), item.at)
    if set(item.entity) != set(keys):
        raise BadInput(
            f"{field}.entity names {sorted(item.entity)}, the model's entity keys are {list(keys)}",
            field=f"{field}.entity",
            remedy=f"send {', '.join(keys) or 'the key as text'}",
        )
    text = "|".join(key_text(item.entity[key], f"{field}.entity.{key}") for key in keys)
    return Label(text, value_text(item.label), item.at)


def _check_value(row: int, value: str | int | float | bool, contract: ModelContract) -> None:
    output = contract.output
    field = f"labels[{row}].label"
    if output.kind not in JUDGED:
        raise BadInput(
            f"{field}: the model answers with a {output.kind}, of which no answer is simply right or wrong",
            field=field,
            remedy="compare its error offline",
        )
    if output.classes is not None and value_text(value) not in output.classes:
        raise BadInput(
            f"{field}: {value_text(value)[:80]!r} is not a class of the model",
            field=field,
            remedy=f"send one of: {', '.join(output.classes[:20])}",
        )
