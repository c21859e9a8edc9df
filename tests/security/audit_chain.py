"""An audit log with the means to tamper with it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from sqlalchemy import Connection, select, update

from maestro.clients.database import Database
from maestro.clients.database.schema.security import audit_log
from maestro.core.clock import ManualClock
from maestro.core.model import Digest, format_time
from maestro.core.statement import TrustPolicy
from maestro.security.audit import AuditLog, AuditReport
from maestro.security.audit.verify import entry_digest
from maestro.security.signing import PrivateKey
from maestro.security.trust import add_key


class Chain:
    """An audit log with its key, trust policy and the means to tamper with it as whoever holds the database can."""

    def __init__(self, database: Database, folder: Path) -> None:
        self.database = database
        self.clock = ManualClock()
        self.decider = PrivateKey.generate()
        self.trust = add_key(TrustPolicy(), self.decider.public_pem, "decider", not_before=self.clock.now())
        self.file = folder / "audit-heads.jsonl"
        self.log = AuditLog(database, self.clock, self.decider, self.file)

    def fill(self, count: int) -> None:
        with self.database.begin() as connection:
            for number in range(count):
                self.clock.sleep(0.25)
                self.log.append(
                    connection,
                    actor="human:ada",
                    action="rollout.step" if number % 2 else "approval.grant",
                    subject=f"version/churn@1.{number}.0",
                    data={"from": number, "share": number / 7, "note": None, "text": "ü"},
                )

    def verify(self) -> AuditReport:
        return self.log.verify(self.trust)

    def kinds(self) -> set[str]:
        return {problem.kind for problem in self.verify().problems}

    def tamper(self, act: Callable[[Connection], object]) -> None:
        with self.database.begin() as connection:
            act(connection)

    def rewrite(self, seq: int, values: dict[str, object]) -> None:
        self.tamper(
            lambda connection: connection.execute(update(audit_log).where(audit_log.c.seq == seq).values(values))
        )

    def rechain(self, connection: Connection, start: int = 1) -> None:
        """Compute every digest again from entry `start` on, as a forger without the decider's key would."""
        prev: Digest = "sha256:" + "0" * 64
        for row in connection.execute(select(audit_log).order_by(audit_log.c.seq)).mappings().all():
            content = {name: value for name, value in row.items() if name != "entry_digest"}
            content |= {"at": format_time(row["at"])}
            if row["seq"] >= start:
                content["prev"] = prev
            prev = entry_digest(content)
            connection.execute(
                update(audit_log).where(audit_log.c.seq == row["seq"]).values(prev=content["prev"], entry_digest=prev)
            )
