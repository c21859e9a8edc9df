"""The cost report: the bill by kind, run, version and tenant, its idle share, and the cost of a million predictions over load."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from sqlalchemy import select

from maestro.clients.database import Database
from maestro.clients.database.schema.governance import model_versions
from maestro.core.clock import Clock
from maestro.core.model import format_time
from maestro.core.rates import RateCard
from maestro.governance.decisions.cost import version_cost
from maestro.operations.cost.ledger import CostEntry, CostLedger
from maestro.operations.cost.serving import ServingUse
from maestro.operations.cost.studies import study_costs


def cost_report(
    database: Database,
    rates: RateCard,
    clock: Clock,
    serving: ServingUse | None = None,
    *,
    tenant_id: str | None = None,
) -> dict[str, Any]:
    """What everything cost so far. All sums are whole micro-dollars and every breakdown adds up to `bill_usd_micros` exactly.

    Args:
        database: the platform database; bills in its event log that are not in the ledger yet are taken in first.
        rates: the rate card.
        clock: dates the report.
        serving: a server's life so far, to be kept and shown as a curve.
        tenant_id: of one tenant only.

    Raises:
        Unreachable: the database is gone.
    """
    ledger = CostLedger(database)
    ledger.catch_up()
    if serving is not None:
        with database.begin() as connection:
            ledger.record(connection, serving.entry(rates))
    with database.read() as connection:
        entries = ledger.entries(connection, tenant_id=tenant_id)
        by_study = study_costs(connection, entries)
        versions = [
            {
                "model": row.model,
                "version": row.version,
                "cost_usd_micros": version_cost(connection, row.model, row.version),
            }
            for row in connection.execute(
                select(model_versions.c.model, model_versions.c.version).order_by(
                    model_versions.c.model, model_versions.c.created_at
                )
            )
        ]
    bill = sum(entry.bill_usd_micros for entry in entries)
    used = sum(entry.used_usd_micros for entry in entries)
    return {
        "schema": "maestro.cost-report/1",
        "at": format_time(clock.now()),
        "rates": rates.document(),
        "bill_usd_micros": bill,
        "used_usd_micros": used,
        "idle_usd_micros": bill - used,
        "idle_share": (bill - used) / bill if bill else 0.0,
        "by_kind": _grouped((entry.kind, entry) for entry in entries),
        "by_subject": _grouped((entry.subject, entry) for entry in entries),
        "by_run": _grouped(
            (str(entry.allocated["run_id"]), entry) for entry in entries if entry.allocated.get("run_id")
        ),
        "by_study": by_study,
        "by_tenant": _grouped((entry.tenant_id, entry) for entry in entries),
        "by_version": versions,
        "attempts": len(entries),
        "predictions": None if serving is None else _predictions(serving, rates),
    }


def _grouped(pairs: Iterable[tuple[str, CostEntry]]) -> list[dict[str, Any]]:
    groups: dict[str, list[CostEntry]] = defaultdict(list)
    for name, entry in pairs:
        groups[name].append(entry)
    return [
        {
            "name": name,
            "attempts": len(entries),
            "wall_s": round(sum(entry.wall_s for entry in entries), 3),
            "cpu_s": round(sum(entry.cpu_s for entry in entries), 3),
            "allocated_core_s": round(
                sum(entry.wall_s * float(entry.allocated.get("cores", 0)) for entry in entries), 3
            ),
            "allocated_gpu_s": round(sum(entry.wall_s * float(entry.allocated.get("gpus", 0)) for entry in entries), 3),
            "memory_gib_s": round(sum(float(entry.allocated.get("memory_gib_s", 0)) for entry in entries), 3),
            "gpu_s": round(sum(float(entry.allocated.get("gpu_s", 0)) for entry in entries), 3),
            "bill_usd_micros": sum(entry.bill_usd_micros for entry in entries),
            "used_usd_micros": sum(entry.used_usd_micros for entry in entries),
            "idle_usd_micros": sum(entry.idle_usd_micros for entry in entries),
        }
        for name, entries in sorted(groups.items())
    ]


def _predictions(serving: ServingUse, rates: RateCard) -> dict[str, Any]:
    """The measured point and the curve through it: a price of a million predictions is never told without its load."""
    entry = serving.entry(rates)
    return {
        "server": serving.server,
        "predictions": serving.predictions,
        "measured": {
            "load_per_s": serving.predictions / serving.wall_s if serving.wall_s else 0.0,
            "usd_micros_per_million": (
                round(entry.bill_usd_micros * 1_000_000 / serving.predictions) if serving.predictions else None
            ),
            "idle_share": entry.idle_usd_micros / entry.bill_usd_micros if entry.bill_usd_micros else 0.0,
        },
        "capacity_per_s": serving.capacity_per_s,
        "curve": [
            {
                "load_per_s": point.load_per_s,
                "replicas": point.replicas,
                "usd_micros_per_million": point.per_million,
                "idle_share": point.idle_share,
            }
            for point in serving.curve(rates)
        ],
    }
