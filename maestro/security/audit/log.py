"""The audit log: entries appended in the transaction of what they tell, one after the other, their heads signed."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from sqlalchemy import Connection, func, insert, select, text

from maestro.clients.database import Database
from maestro.clients.database.engine import after_commit
from maestro.clients.database.schema.security import audit_heads, audit_log
from maestro.core.clock import Clock
from maestro.core.errors import BadInput, MaestroError, from_validation
from maestro.core.model import format_time
from maestro.core.statement import Envelope, TrustPolicy
from maestro.security.audit.entry import GENESIS, AuditEntry, storable
from maestro.security.audit.heads import append_missing, head_statement, read_lines
from maestro.security.audit.report import AuditReport
from maestro.security.audit.verify import StoredEntry, StoredHead, verify_chain
from maestro.security.signing import PrivateKey

HEAD_EVERY = 100
"""Entries between two signed heads at most."""

_LOCK = 0x6D61_6573_7472_6F01
"""PostgreSQL's advisory lock of the chain."""

_CHUNK = 1000

log = logging.getLogger(__name__)


class AuditLog:
    """The chain in one database. Thread-safe; any number of processes may append.

    Args:
        database: the platform database.
        clock: dates entries and heads.
        decider: signs heads; without it entries are appended, and the next process that has the key signs for them.
        heads_path: the file outside the database that the heads are appended to; none is kept when None.
    """

    def __init__(self, database: Database, clock: Clock, decider: PrivateKey | None, heads_path: Path | None) -> None:
        self._database = database
        self._clock = clock
        self._decider = decider
        self._heads_path = heads_path

    def append(
        self,
        connection: Connection,
        *,
        actor: str,
        action: str,
        subject: str,
        outcome: str = "done",
        data: Mapping[str, Any] | None = None,
        decision: bool = False,
    ) -> AuditEntry:
        """Append an entry in the caller's transaction: it is there if and only if the transaction commits.

        Transactions that append wait for each other from here to their end, so append late.

        Args:
            connection: of `Database.begin()`.
            actor: who, as `Principal.actor` says it.
            action: dotted verb.
            subject: `kind/name`.
            outcome: `done`, `refused` or `failed`.
            data: JSON; holds no secret and no personal data.
            decision: whether it records a decision: then its head is signed at once.

        Raises:
            BadInput: a field is empty, too long or not JSON.
        """
        self._serialise(connection)
        last, prev = self._last(connection)
        try:
            entry = AuditEntry(
                seq=last + 1,
                at=self._clock.now(),
                actor=actor,
                action=action,
                subject=subject,
                outcome=outcome,
                data=storable(data or {}),
                prev=prev,
            )
        except ValidationError as error:
            raise from_validation(error, "audit entry") from None
        entry_digest = entry.content_digest()
        connection.execute(
            insert(audit_log).values(
                seq=entry.seq,
                at=entry.at,
                actor=entry.actor,
                action=entry.action,
                subject=entry.subject,
                outcome=entry.outcome,
                data=entry.data,
                prev=entry.prev,
                entry_digest=entry_digest,
            )
        )
        if self._decider is not None:
            signed = self._last_head(connection)
            if decision or signed == 0 or entry.seq - signed >= HEAD_EVERY:
                self._sign(connection, entry.seq, entry_digest)
        return entry

    def record(
        self,
        *,
        actor: str,
        action: str,
        subject: str,
        outcome: str = "done",
        data: Mapping[str, Any] | None = None,
        decision: bool = False,
    ) -> AuditEntry:
        """Append an entry in a transaction of its own: for what changes nothing in the database, such as a refusal."""
        with self._database.begin() as connection:
            return self.append(
                connection, actor=actor, action=action, subject=subject, outcome=outcome, data=data, decision=decision
            )

    def sign_head(self, connection: Connection) -> int:
        """Sign the chain as it stands, in the caller's transaction.

        Returns:
            The entry that the head vouches for; 0 for an empty chain.

        Raises:
            BadInput: this process has no decider key.
        """
        if self._decider is None:
            raise BadInput("this process has no decider key", remedy="sign on the control plane")
        self._serialise(connection)
        last, entry_digest = self._last(connection)
        if last and self._last_head(connection) < last:
            self._sign(connection, last, entry_digest)
        return last

    def publish_heads(self) -> int:
        """Append to the file outside the database the heads that it lacks; runs by itself after each commit that signs one.

        Returns:
            How many it lacked.

        Raises:
            OSError: the file cannot be written; the heads stay in the database and follow next time.
        """
        if self._heads_path is None:
            return 0
        return append_missing(self._heads_path, self._heads_after)

    def entries(
        self,
        *,
        after: int = 0,
        limit: int = 100,
        actor: str | None = None,
        action: str | None = None,
        subject: str | None = None,
    ) -> tuple[AuditEntry, ...]:
        """Entries in order, those after entry `after`; `action` and `subject` match by their beginning."""
        query = select(audit_log).where(audit_log.c.seq > after).order_by(audit_log.c.seq).limit(limit)
        if actor is not None:
            query = query.where(audit_log.c.actor == actor)
        if action is not None:
            query = query.where(audit_log.c.action.startswith(action, autoescape=True))
        if subject is not None:
            query = query.where(audit_log.c.subject.startswith(subject, autoescape=True))
        with self._database.read() as connection:
            rows = connection.execute(query).mappings().all()
        return tuple(
            AuditEntry.model_validate({name: value for name, value in row.items() if name != "entry_digest"})
            for row in rows
        )

    def verify(self, trust: TrustPolicy) -> AuditReport:
        """Check the whole chain, the heads in the database and those in the file.

        Reads the file, then the heads, then the entries, so that entries appended meanwhile are never mistaken for tampering.
        """
        published = read_lines(self._heads_path) if self._heads_path is not None else None
        with self._database.read() as connection:
            stored = [
                StoredHead(row.seq, row.entry_digest, _envelope(row.envelope))
                for row in connection.execute(select(audit_heads).order_by(audit_heads.c.seq))
            ]
            if published is None:
                published = [head.envelope for head in stored]
            return verify_chain(_stored_entries(connection), stored, published, trust, self._clock.now())

    def _serialise(self, connection: Connection) -> None:
        if not self._database.is_sqlite:  # there `begin()` took the write lock already
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})

    def _last(self, connection: Connection) -> tuple[int, str]:
        row = connection.execute(
            select(audit_log.c.seq, audit_log.c.entry_digest).order_by(audit_log.c.seq.desc()).limit(1)
        ).one_or_none()
        return (row.seq, row.entry_digest) if row is not None else (0, GENESIS)

    def _last_head(self, connection: Connection) -> int:
        return connection.execute(select(func.max(audit_heads.c.seq))).scalar() or 0

    def _sign(self, connection: Connection, seq: int, entry_digest: str) -> None:
        if self._decider is None:
            return
        at = self._clock.now()
        envelope = self._decider.sign(head_statement(seq, entry_digest, at))
        connection.execute(
            insert(audit_heads).values(seq=seq, at=at, entry_digest=entry_digest, envelope=envelope.document())
        )
        # Outside only what is committed: a head of a transaction that was rolled back would accuse the chain for ever.
        after_commit(connection, self._publish)

    def _publish(self) -> None:
        try:
            self.publish_heads()
        except (OSError, MaestroError):
            log.exception("signed audit heads could not be appended to %s; they follow next time", self._heads_path)

    def _heads_after(self, seq: int) -> list[tuple[int, Envelope]]:
        query = select(audit_heads).where(audit_heads.c.seq > seq).order_by(audit_heads.c.seq)
        with self._database.read() as connection:
            return [(row.seq, Envelope.model_validate(row.envelope)) for row in connection.execute(query)]


def _stored_entries(connection: Connection) -> Iterator[StoredEntry]:
    last = -1
    while True:
        chunk = _chunk(connection, last)
        yield from chunk
        if not chunk:
            return
        last = chunk[-1].seq


def _chunk(connection: Connection, after: int) -> list[StoredEntry]:
    query = select(audit_log).where(audit_log.c.seq > after).order_by(audit_log.c.seq).limit(_CHUNK)
    try:
        return [_stored(dict(row)) for row in connection.execute(query).mappings()]
    except (ValueError, TypeError):
        # A row holds what its column's type cannot read: find it, row by row.
        return [_one(connection, seq) for seq in connection.execute(query.with_only_columns(audit_log.c.seq)).scalars()]


def _one(connection: Connection, seq: int) -> StoredEntry:
    try:
        row = connection.execute(select(audit_log).where(audit_log.c.seq == seq)).mappings().one()
    except (ValueError, TypeError):
        plain = select(audit_log.c.prev, audit_log.c.entry_digest).where(audit_log.c.seq == seq)
        prev, entry_digest = connection.execute(plain).one()
        return StoredEntry(seq, None, prev, entry_digest)
    return _stored(dict(row))


def _stored(row: dict[str, Any]) -> StoredEntry:
    entry_digest = row.pop("entry_digest")
    content = row | {"at": format_time(row["at"])}
    return StoredEntry(row["seq"], content, row["prev"], entry_digest)


def _envelope(value: Any) -> Envelope | None:
    try:
        return Envelope.model_validate(json.loads(value) if isinstance(value, str) else value)
    except (ValidationError, ValueError):
        return None
