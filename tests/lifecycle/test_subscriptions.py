"""Events reach their handlers once or more, in order; one bad event holds up nobody; a component that is away loses nothing."""

from __future__ import annotations

import pytest

from maestro.clients.database import Database
from maestro.clients.database.outbox import append_event, events
from maestro.core.clock import ManualClock
from maestro.core.errors import BadInput, Unreachable
from maestro.core.events import Event
from maestro.lifecycle.subscriptions import Subscriptions


def write(database: Database, clock: ManualClock, *names: str) -> None:
    with database.begin() as connection:
        for name in names:
            append_event(connection, kind="job.completed", subject=f"job/{name}", actor="t", data={}, at=clock.now())


def test_each_handler_sees_every_event_in_order(database: Database, clock: ManualClock) -> None:
    write(database, clock, "a", "b")
    seen: list[tuple[str, str]] = []
    handlers = {
        "job.completed": [
            lambda event: seen.append(("first", event.subject)),
            lambda event: seen.append(("second", event.subject)),
        ]
    }
    subscriptions = Subscriptions(database, clock, handlers)
    assert subscriptions.deliver() == 2
    assert seen == [("first", "job/a"), ("second", "job/a"), ("first", "job/b"), ("second", "job/b")]
    assert subscriptions.deliver() == 0


def test_an_event_waits_while_a_component_is_away(database: Database, clock: ManualClock) -> None:
    write(database, clock, "a")
    away = [True]
    seen: list[str] = []

    def handler(event: Event) -> None:
        if away[0]:
            raise Unreachable("registry is away")
        seen.append(event.subject)

    subscriptions = Subscriptions(database, clock, {"job.completed": [handler]})
    with pytest.raises(Unreachable):
        subscriptions.deliver()
    away[0] = False
    assert subscriptions.deliver() == 1
    assert seen == ["job/a"]


def test_a_bad_event_is_told_of_and_passed(database: Database, clock: ManualClock) -> None:
    write(database, clock, "bad", "good")
    seen: list[str] = []

    def handler(event: Event) -> None:
        if event.subject == "job/bad":
            raise BadInput("contract.json is missing")
        seen.append(event.subject)

    assert Subscriptions(database, clock, {"job.completed": [handler]}).deliver() == 2
    assert seen == ["job/good"]
    with database.read() as connection:
        told = [event for event in events(connection) if event.kind == "job.completed.undeliverable"]
    assert [(event.subject, event.data["reason"]) for event in told] == [("job/bad", "contract.json is missing")]
