"""The outbox: in the caller's transaction, in order, at least once."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from maestro.clients.database import Database
from maestro.clients.database.outbox import append_event, confirm, events, undelivered

AT = datetime(2026, 1, 1, tzinfo=UTC)


def add(database: Database, kind: str, subject: str = "job/1") -> int:
    with database.begin() as connection:
        return append_event(
            connection, kind=kind, subject=subject, actor="service:worker", data={"n": 1}, at=AT, trace="t1"
        )


def test_an_event_is_delivered_until_it_is_confirmed(database: Database) -> None:
    first, second = add(database, "job.completed"), add(database, "job.completed")
    for _ in range(2):
        with database.read() as connection:
            assert [event.seq for event in undelivered(connection, ["job.completed"])] == [first, second]
    for _ in range(2):
        with database.begin() as connection:
            confirm(connection, first, AT)
    with database.read() as connection:
        left = undelivered(connection, ["job.completed"])
        assert [event.seq for event in left] == [second]
        assert left[0].trace == "t1"
        assert left[0].at == AT


def test_a_subscriber_sees_its_kinds_only(database: Database) -> None:
    add(database, "job.failed")
    with database.read() as connection:
        assert undelivered(connection, ["job.completed"]) == []


def test_an_event_of_a_transaction_that_failed_never_was(database: Database) -> None:
    def fail_after_writing() -> None:
        with database.begin() as connection:
            append_event(connection, kind="job.completed", subject="job/1", actor="a", data={}, at=AT)
            raise KeyError

    with pytest.raises(KeyError):
        fail_after_writing()
    with database.read() as connection:
        assert events(connection) == []


def test_the_log_is_read_on_from_a_number_and_for_a_subject(database: Database) -> None:
    first, second, third = (
        add(database, "rollout.moved", subject) for subject in ("model/a@1", "model/b@1", "model/a@1")
    )
    with database.read() as connection:
        assert [event.seq for event in events(connection, after=first)] == [second, third]
        assert [event.seq for event in events(connection, subject="model/a@1")] == [first, third]
        assert [event.seq for event in events(connection, limit=1)] == [first]
