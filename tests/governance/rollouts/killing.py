"""A controller that is killed at one of its effects."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from threading import Event

from sqlalchemy import event as engine_event

from maestro.clients.database import open_database
from tests.governance.conftest import Kit

MakeKit = Callable[..., Kit]


def killed_at(
    kit: Kit, make_kit: MakeKit, rollout_id: str, effect: int, watch: Callable[[Kit, Callable[..., None]], None]
) -> bool:
    """Lead the rollout in a child that kills itself at its n-th effect, and say whether it came so far.

    Args:
        watch: has what moves traffic call its second argument after each effect; commits to the database count besides.
    """
    child = os.fork()
    if child == 0:
        database = open_database(str(kit.database.engine.url))  # connections are not shared over a fork
        own = make_kit(database)
        own.model, own.source.bad = kit.model, kit.source.bad
        seen = [0]

        def count(*_: object) -> None:
            seen[0] += 1
            if seen[0] == effect:
                os.kill(os.getpid(), signal.SIGKILL)

        engine_event.listen(database.engine, "commit", count)
        try:
            watch(own, count)
            own.governance.rollouts.run(rollout_id, Event())
        finally:
            os._exit(0)
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status)
