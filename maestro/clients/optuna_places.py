"""The places of a study: however many processes search, no two take the same one, so that their trials together are never more than were asked for.

A trial that runs holds a place, and one that has come to its end keeps it; one that failed or was lost has given it back. Counting and taking happen under a
lock of the study: PostgreSQL's advisory lock, or beside a SQLite file a lock of the kernel's. Both are released when their holder dies.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from typing import Any

from maestro.core.errors import Unreachable

_SPACE = 0x6D61
"""The first half of the advisory lock's key; the second is the study's number."""

_PATIENCE_S = 30.0
_COUNT = "SELECT count(*) FROM trials WHERE study_id = :study AND state IN ('RUNNING', 'COMPLETE', 'PRUNED')"


class Full(Exception):
    """Every place of the study is taken."""


class Places:
    """The places of the studies of one database.

    Args:
        engine: SQLAlchemy's engine of the database that Optuna writes to.
    """

    def __init__(self, engine: Any) -> None:
        self._engine = engine

    @contextlib.contextmanager
    def one_of(self, study_id: int, at_most: int) -> Iterator[None]:
        """Hold the lock of a study while a place of it is taken inside.

        Args:
            study_id: Optuna's number of the study.
            at_most: how many places it has.

        Raises:
            Full: none is left.
            Unreachable: the lock was not free in half a minute, or cannot be taken at all.
        """
        from sqlalchemy import text

        with self._beside_file(), self._engine.begin() as connection:
            if self._engine.dialect.name == "postgresql":
                connection.execute(text(f"SET LOCAL lock_timeout = {round(_PATIENCE_S * 1000)}"))
                connection.execute(
                    text("SELECT pg_advisory_xact_lock(:space, :study)"), {"space": _SPACE, "study": study_id}
                )
            taken = int(connection.execute(text(_COUNT), {"study": study_id}).scalar_one())
            if self._engine.dialect.name == "sqlite":
                # what has read must not stand in the way of what writes
                connection.rollback()
            if taken >= at_most:
                raise Full
            yield

    @contextlib.contextmanager
    def _beside_file(self) -> Iterator[None]:
        file = self._engine.url.database if self._engine.dialect.name == "sqlite" else None
        if not file or file == ":memory:":
            yield
            return
        lock = _opened(f"{file}.lock")
        try:
            _take(lock, f"{file}.lock")
            yield
        finally:
            os.close(lock)


def _opened(path: str) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise _no_lock(path, error) from error


def _take(lock: int, path: str) -> None:
    until = time.monotonic() + _PATIENCE_S
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() > until:
                raise Unreachable(
                    f"another process has held {path} for {_PATIENCE_S:g} s",
                    remedy="end it, or let it go on", component="optuna",
                ) from None  # fmt: skip
            time.sleep(0.005)
        except OSError as error:
            raise _no_lock(path, error) from error


def _no_lock(path: str, error: OSError) -> Unreachable:
    return Unreachable(
        f"the study storage cannot be locked: {path}: {error.strerror}",
        remedy="let this user write there, on a disk that knows locks", component="optuna",
    )  # fmt: skip
