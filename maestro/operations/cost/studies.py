"""The cost of studies: each study's bill divided among its trials, and what no trial used."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, select

from maestro.clients.database.schema.tuning import ai_hpo_studies as studies
from maestro.clients.database.schema.tuning import ai_hpo_trials as trials
from maestro.core.money import split
from maestro.operations.cost.ledger import CostEntry


def study_costs(connection: Connection, entries: Sequence[CostEntry]) -> list[dict[str, Any]]:
    """For each study of the entries: its bill, what its trials were billed, and the rest (loading, waiting, cores without a trial).

    Trials and rest add up to the bill exactly: where the trials' own sums come to more than the bill, as roundings may, they are
    scaled to it by largest remainder.
    """
    groups: dict[str, list[CostEntry]] = defaultdict(list)
    for entry in entries:
        if entry.kind == "tuning" and entry.allocated.get("study_id"):
            groups[str(entry.allocated["study_id"])].append(entry)
    if not groups:
        return []
    names = {
        row.id: row.name
        for row in connection.execute(select(studies.c.id, studies.c.name).where(studies.c.id.in_(groups)))
    }
    own: dict[str, list[tuple[int, int]]] = defaultdict(list)
    rows = connection.execute(
        select(trials.c.study_id, trials.c.number, trials.c.cost_usd_micros)
        .where(trials.c.study_id.in_(groups)).order_by(trials.c.study_id, trials.c.number)
    )  # fmt: skip
    for study, number, micros in rows:
        own[study].append((int(number), int(micros)))
    found = []
    for study, attempts in sorted(groups.items()):
        bill = sum(entry.bill_usd_micros for entry in attempts)
        parts = divide(bill, [micros for _, micros in own[study]])
        found.append(
            {
                "study_id": study, "name": names.get(study, ""), "attempts": len(attempts), "bill_usd_micros": bill,
                "used_usd_micros": sum(entry.used_usd_micros for entry in attempts),
                "trials_usd_micros": sum(parts), "rest_usd_micros": bill - sum(parts),
                "trials": [
                    {"number": number, "usd_micros": part} for (number, _), part in zip(own[study], parts, strict=True)
                ],
            }
        )  # fmt: skip
    return found


def divide(bill: int, parts: Sequence[int]) -> tuple[int, ...]:
    """The parts of a bill: as they are while they fit into it, else scaled so that they add up to it exactly.

    >>> divide(100, [30, 40]), divide(100, [120, 80])
    ((30, 40), (60, 40))
    """
    return tuple(parts) if sum(parts) <= bill else split(bill, parts)
