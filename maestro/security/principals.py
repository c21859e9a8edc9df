"""Who may act: principals and their keys in the database. Two keys of one person are one principal; agents and services are kinds of it."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, insert, select, update

from maestro.clients.database import Database
from maestro.clients.database.engine import after_commit
from maestro.clients.database.schema.security import principal_keys, principals
from maestro.core.clock import Clock
from maestro.core.errors import BadInput, Conflict, NotFound, Refused, Unreachable
from maestro.core.model import Model, Time
from maestro.core.principals import SYSTEM, Principal
from maestro.security.audit import AuditLog
from maestro.security.credential import Credential, KeyVerifier, recognise
from maestro.security.verifiers import KeyVerifiers, write_verifiers

__all__ = ["KeyVerifiers", "PrincipalKey", "PrincipalRecord", "PrincipalStore"]


class PrincipalKey(Model):
    """A key as lists show it, without its secret."""

    key_id: str
    principal: str
    created: Time
    expires: Time | None = None
    revoked: Time | None = None


class PrincipalRecord(Model):
    """A principal with when it was created and, if it was, disabled."""

    principal: Principal
    created: Time
    disabled: Time | None = None


class PrincipalStore:
    """Principals and keys of one database. Thread-safe.

    Args:
        database: the platform database.
        clock: dates everything.
        audit: where every change is recorded, in its own transaction.
        verifiers: the file for servers without database, written again after every change.
    """

    def __init__(
        self, database: Database, clock: Clock, *, audit: AuditLog | None = None, verifiers: Path | None = None
    ) -> None:
        self._database = database
        self._clock = clock
        self._audit = audit
        self._verifiers = verifiers

    def create(self, principal: Principal, *, actor: str = SYSTEM.actor) -> Principal:
        """Make a principal; nothing changes when the very same one exists.

        Raises:
            Conflict: one of that name exists with another kind, other roles or other tenants.
            BadInput: its kind is `system`, which no key can have.
        """
        if principal.kind == "system":
            raise BadInput("the control plane itself has no key", field="kind", remedy="choose human, service or agent")
        with self._database.begin() as connection:
            row = self._row(connection, principal.name)
            if row is not None:
                if _principal(row) == principal:
                    return principal
                raise Conflict(f"principal {principal.name} exists and is another", field="name")
            self._insert(connection, principal, actor)
        return principal

    def get(self, name: str) -> PrincipalRecord:
        """One principal.

        Raises:
            NotFound: there is none of that name.
        """
        with self._database.read() as connection:
            row = self._row(connection, name)
        if row is None:
            raise _unknown(name)
        return _record(row)

    def list(self) -> tuple[PrincipalRecord, ...]:
        """Every principal by name."""
        with self._database.read() as connection:
            rows = connection.execute(select(principals).order_by(principals.c.name)).mappings().all()
        return tuple(_record(dict(row)) for row in rows)

    def keys(self, name: str | None = None) -> tuple[PrincipalKey, ...]:
        """Every key, or those of one principal, oldest first."""
        query = select(principal_keys).order_by(principal_keys.c.created_at, principal_keys.c.key_id)
        if name is not None:
            query = query.where(principal_keys.c.principal == name)
        with self._database.read() as connection:
            return tuple(
                PrincipalKey(
                    key_id=row.key_id,
                    principal=row.principal,
                    created=row.created_at,
                    expires=row.expires_at,
                    revoked=row.revoked_at,
                )
                for row in connection.execute(query)
            )

    def set_disabled(self, name: str, disabled: bool, *, actor: str = SYSTEM.actor) -> None:
        """Refuse every key of a principal from now on, or no longer.

        Raises:
            NotFound: there is none of that name.
        """
        with self._database.begin() as connection:
            row = self._row(connection, name)
            if row is None:
                raise _unknown(name)
            if (row["disabled_at"] is not None) == disabled:
                return
            connection.execute(
                update(principals)
                .where(principals.c.name == name)
                .values(disabled_at=self._clock.now() if disabled else None)
            )
            self._changed(connection, actor, "principal.disable" if disabled else "principal.enable", name, {})

    def mint_key(self, name: str, expires_at: datetime | None = None, *, actor: str = SYSTEM.actor) -> str:
        """A new key of a principal: `mk_<key id>_<secret>`. It is told once and cannot be read again.

        Raises:
            NotFound: there is no such principal.
            BadInput: it would have expired already.
            Refused: the principal is disabled.
        """
        now = self._clock.now()
        if expires_at is not None and expires_at <= now:
            raise BadInput("the key would have expired already", field="expires_at", remedy="give a time to come")
        credential = Credential.mint()
        with self._database.begin() as connection:
            row = self._row(connection, name)
            if row is None:
                raise _unknown(name)
            if row["disabled_at"] is not None:
                raise Refused(f"{_principal(row).actor} is disabled", remedy="enable it first")
            connection.execute(
                insert(principal_keys).values(
                    key_id=credential.key_id,
                    principal=name,
                    secret_hash=credential.secret_hash,
                    created_at=now,
                    expires_at=expires_at,
                )
            )
            self._changed(connection, actor, "key.mint", name, {"key_id": credential.key_id})
        return credential.token

    def adopt(self, found: Iterable[KeyVerifier], *, actor: str = SYSTEM.actor) -> tuple[str, ...]:
        """Take in principals and keys that were made outside, by their verifiers; what is known stays as it is, so that a key that was revoked stays revoked.

        Returns:
            The ids of the keys that were taken in.

        Raises:
            BadInput: a principal's kind is `system`.
        """
        adopted = []
        for key in found:
            if key.principal.kind == "system":
                raise BadInput("the control plane itself has no key", field="kind", remedy="human, service or agent")
            with self._database.begin() as connection:
                if connection.execute(
                    select(principal_keys.c.key_id).where(principal_keys.c.key_id == key.key_id)
                ).first():
                    continue
                if self._row(connection, key.principal.name) is None:
                    self._insert(connection, key.principal, actor)
                connection.execute(
                    insert(principal_keys).values(
                        key_id=key.key_id,
                        principal=key.principal.name,
                        secret_hash=key.secret_hash,
                        created_at=self._clock.now(),
                        expires_at=key.expires,
                    )
                )
                self._changed(connection, actor, "key.adopt", key.principal.name, {"key_id": key.key_id})
                adopted.append(key.key_id)
        return tuple(adopted)

    def revoke_key(self, key_id: str, *, actor: str = SYSTEM.actor) -> None:
        """Refuse a key from now on; nothing changes when it was revoked before.

        Raises:
            NotFound: there is no such key.
        """
        with self._database.begin() as connection:
            row = connection.execute(
                select(principal_keys.c.principal, principal_keys.c.revoked_at).where(principal_keys.c.key_id == key_id)
            ).one_or_none()
            if row is None:
                raise NotFound(f"there is no key {key_id!r}", field="key_id", remedy="maestro keys list")
            if row.revoked_at is not None:
                return
            connection.execute(
                update(principal_keys).where(principal_keys.c.key_id == key_id).values(revoked_at=self._clock.now())
            )
            self._changed(connection, actor, "key.revoke", row.principal, {"key_id": key_id})

    def authenticate(self, token: str) -> Principal:
        """The principal whose key `token` is.

        Raises:
            Unauthenticated: it is nobody's, expired, revoked, or its principal is disabled.
        """
        credential = Credential.parse(token)
        with self._database.read() as connection:
            found = _verifiers(connection, credential.key_id)
        return recognise(credential, found[0] if found else None, self._clock.now())

    def export_verifiers(self, path: Path) -> None:
        """Write the verifiers of every key in force to `path`, for servers without database; it holds no secret.

        Exports of several processes wait for each other, so that an older state never replaces a newer one.

        Raises:
            Unreachable: the file cannot be written.
        """
        now = self._clock.now()
        with _exclusive(path):
            with self._database.read() as connection:
                found = _verifiers(connection, None)
            write_verifiers(path, [key for key in found if _in_force(key, now)])

    def _insert(self, connection: Connection, principal: Principal, actor: str) -> None:
        connection.execute(
            insert(principals).values(
                name=principal.name,
                kind=principal.kind,
                roles=list(principal.roles),
                tenants=list(principal.tenants),
                created_at=self._clock.now(),
            )
        )
        self._changed(connection, actor, "principal.create", principal.name, principal.document())

    def _changed(self, connection: Connection, actor: str, action: str, name: str, data: dict[str, Any]) -> None:
        if self._audit is not None:
            self._audit.append(connection, actor=actor, action=action, subject=f"principal/{name}", data=data)
        if self._verifiers is not None:
            after_commit(connection, self._export)

    def _export(self) -> None:
        if self._verifiers is not None:
            self.export_verifiers(self._verifiers)

    def _row(self, connection: Connection, name: str) -> dict[str, Any] | None:
        row = connection.execute(select(principals).where(principals.c.name == name)).mappings().one_or_none()
        return None if row is None else dict(row)


def _principal(row: dict[str, Any]) -> Principal:
    return Principal(name=row["name"], kind=row["kind"], roles=tuple(row["roles"]), tenants=tuple(row["tenants"]))


def _record(row: dict[str, Any]) -> PrincipalRecord:
    return PrincipalRecord(principal=_principal(row), created=row["created_at"], disabled=row["disabled_at"])


def _verifiers(connection: Connection, key_id: str | None) -> tuple[KeyVerifier, ...]:
    joined = select(
        principals,
        principal_keys.c.key_id,
        principal_keys.c.secret_hash,
        principal_keys.c.expires_at,
        principal_keys.c.revoked_at,
    ).join(principal_keys, principal_keys.c.principal == principals.c.name)
    query = joined.order_by(principal_keys.c.key_id)
    if key_id is not None:
        query = query.where(principal_keys.c.key_id == key_id)
    return tuple(
        KeyVerifier(
            key_id=row["key_id"],
            secret_hash=row["secret_hash"],
            principal=_principal(dict(row)),
            expires=row["expires_at"],
            revoked=row["revoked_at"],
            disabled=row["disabled_at"],
        )
        for row in connection.execute(query).mappings()
    )


@contextmanager
def _exclusive(path: Path) -> Iterator[None]:
    lock = path.with_name(f".{path.name}.lock")
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise Unreachable(f"{lock} cannot be written: {error.strerror}", remedy="correct the folder") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _in_force(key: KeyVerifier, at: datetime) -> bool:
    return key.revoked is None and key.disabled is None and (key.expires is None or at < key.expires)


def _unknown(name: str) -> NotFound:
    return NotFound(f"there is no principal {name!r}", field="name", remedy="maestro keys create-principal")
