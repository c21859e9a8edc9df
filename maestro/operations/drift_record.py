"""Keep a drift check: its decision in the chain, its report and its event, all in one transaction."""

from __future__ import annotations

from pathlib import Path

from maestro.clients.database import Database
from maestro.core.clock import Clock
from maestro.governance.decisions import DecisionStore
from maestro.monitoring.drift import DriftCheck, DriftDecision
from maestro.monitoring.drift.store import DriftReport, DriftStore

ACTOR = "system:drift-monitor"


def record_check(
    database: Database,
    decisions: DecisionStore,
    clock: Clock,
    check: DriftCheck,
    decision: DriftDecision,
    *,
    html: Path | None = None,
    run_id: str | None = None,
    actor: str = ACTOR,
) -> DriftReport:
    """Append the decision and the report that names it.

    Raises:
        Unreachable: the database is gone; nothing was kept.
    """
    with database.begin() as connection:
        record = decisions.record(
            connection,
            kind=decision.kind,
            subject=decision.subject,
            inputs=decision.inputs,
            verdict=decision.verdict,
            reasons=decision.reasons,
            actor=actor,
        )
        return DriftStore(database).append(
            connection,
            check,
            at=clock.now(),
            actor=actor,
            decision=record.id,
            html=str(html) if html else None,
            run_id=run_id,
        )
