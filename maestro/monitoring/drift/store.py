"""`drift_reports`: the results of checks, with their event in the same transaction."""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, func, select

from maestro.clients.database import Database
from maestro.clients.database.outbox import append_event
from maestro.clients.database.schema.operations import drift_reports
from maestro.core.errors import NotFound
from maestro.core.model import Model, Time
from maestro.monitoring.drift.batch import DriftCheck


class DriftReport(Model):
    """A stored check. `decision` is the id of its decision record, where one was made."""

    id: str
    at: Time
    dataset: str
    verdict: str
    share: float
    alarm: str
    drifted: tuple[str, ...]
    decision: str | None = None
    html: str | None = None
    run_id: str | None = None
    check: DriftCheck | None = None


class DriftStore:
    """Reads and writes the reports of one database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def append(
        self,
        connection: Connection,
        check: DriftCheck,
        *,
        at: datetime,
        actor: str,
        decision: str | None = None,
        html: str | None = None,
        run_id: str | None = None,
    ) -> DriftReport:
        """Keep a check and tell of it (`drift.checked`), in the caller's transaction."""
        report = DriftReport(
            id=uuid.uuid4().hex,
            at=at,
            dataset=check.dataset,
            verdict="drift" if check.drift else "no_drift",
            share=check.verdict.share,
            alarm=check.verdict.alarm,
            drifted=check.verdict.drifted,
            decision=decision,
            html=html,
            run_id=run_id,
            check=check,
        )
        connection.execute(
            drift_reports.insert().values(
                id=report.id,
                at=report.at,
                dataset=report.dataset,
                verdict=report.verdict,
                share=report.share,
                report=report.document(),
            )
        )
        append_event(
            connection,
            kind="drift.checked",
            subject=f"dataset/{check.dataset}",
            actor=actor,
            at=at,
            data={"report": report.id, "verdict": report.verdict, "share": report.share, "alarm": report.alarm}
            | ({"decision": decision} if decision else {}),
        )
        return report

    def get(self, report_id: str) -> DriftReport:
        """One report, with its check.

        Raises:
            NotFound: there is none of that id.
        """
        with self._database.read() as connection:
            found = connection.execute(
                select(drift_reports.c.report).where(drift_reports.c.id == report_id)
            ).scalar_one_or_none()
        if found is None:
            raise NotFound(
                f"drift report {report_id} does not exist", field="id", remedy="list them: maestro drift list"
            )
        return DriftReport.model_validate(found)

    def list(
        self, *, dataset: str | None = None, verdict: str | None = None, page: int = 1, page_size: int = 50
    ) -> tuple[list[DriftReport], int]:
        """A page of reports without their checks, newest first, and how many there are."""
        filters = [
            column == value
            for column, value in ((drift_reports.c.dataset, dataset), (drift_reports.c.verdict, verdict))
            if value is not None
        ]
        with self._database.read() as connection:
            total = connection.execute(select(func.count()).select_from(drift_reports).where(*filters)).scalar_one()
            rows: list[dict[str, Any]] = list(
                connection.execute(
                    select(drift_reports.c.report)
                    .where(*filters)
                    .order_by(drift_reports.c.at.desc(), drift_reports.c.id)
                    .limit(page_size)
                    .offset((page - 1) * page_size)
                ).scalars()
            )
        short = [{key: value for key, value in row.items() if key != "check"} for row in rows]
        return [DriftReport.model_validate(row) for row in short], int(total)
