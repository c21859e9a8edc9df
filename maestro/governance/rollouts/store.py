"""`rollouts`: one row a rollout, written only by the holder of its lease."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from pydantic import Field
from sqlalchemy import Connection, RowMapping, func, or_, select, update

from maestro.clients.database import Database
from maestro.clients.database.schema.governance import rollouts
from maestro.core.clock import Clock
from maestro.core.errors import Fenced, NotFound
from maestro.core.model import Model, Time
from maestro.core.seams import Reading
from maestro.core.statement import ApprovalRef
from maestro.governance.rollouts.graphs import Arms
from maestro.governance.rollouts.status import RUNNING, RolloutStatus, Step

LEASE = timedelta(seconds=15)
"""A controller that has not written for this long is taken for dead."""


class Memory(Model):
    """What a controller must know to go on where another was killed."""

    arms: Arms
    gate: str = Field(description="the decision that let the version in")
    approvals: tuple[ApprovalRef, ...] = ()
    graph: dict[str, Any] | None = Field(default=None, description="the graph that is to be or was last written")
    expected_revision: int | None = Field(default=None, description="the revision it replaces")
    start: dict[str, Any] | None = Field(default=None, description="state of the decision, until a record carries it")
    last_look: str | None = Field(default=None, description="the last rollout.step record")
    base: Reading | None = Field(default=None, description="the last usable reading on this rung")
    looked_at: Time | None = None
    failures: int = Field(default=0, description="attempts in a row at the present step")
    held: bool = Field(default=False, description="a person changed the graph: nothing moves until a person says so")
    reason: str = ""
    outcome: RolloutStatus | None = Field(default=None, description="how it ends, once decided")
    promotion: str | None = Field(default=None, description="the decision that promoted")
    challenger_core_ms: int = 0


class Rollout(Model):
    """One rollout."""

    id: str
    model: str
    champion: str | None = None
    challenger: str
    strategy: str
    policy_digest: str
    status: RolloutStatus
    step: Step
    rung: int = 0
    weight: float = 0.0
    graph_revision: int | None = None
    last_decision: str | None = None
    state: Memory
    started_by: str
    created_at: Time
    finished_at: Time | None = None

    @property
    def subject(self) -> str:
        """As events name it."""
        return f"rollout/{self.model}@{self.challenger}"


class RolloutStore:
    """Reads rollouts; writes them under a fence."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self.database = database
        self._clock = clock

    def insert(self, connection: Connection, rollout: Rollout) -> None:
        """Add a row in the caller's transaction."""
        connection.execute(rollouts.insert().values(id=rollout.id, fence=0, **_values(rollout), **_fixed(rollout)))

    def save(self, connection: Connection, rollout: Rollout, fence: int) -> None:
        """Write a row in the caller's transaction and keep the lease.

        Raises:
            Fenced: another controller has taken over.
        """
        done = rollout.step is Step.DONE
        result = connection.execute(
            update(rollouts)
            .where(rollouts.c.id == rollout.id, rollouts.c.fence == fence)
            .values(**_values(rollout), lease_expires=None if done else self._clock.now() + LEASE)
        )
        if result.rowcount != 1:
            raise Fenced(f"rollout {rollout.id} is led by another controller", remedy="nothing: it goes on there")

    def acquire(self, rollout_id: str) -> int | None:
        """The fence of a lease on a rollout that nobody leads; None when somebody does."""
        now = self._clock.now()
        with self.database.begin() as connection:
            result = connection.execute(
                update(rollouts)
                .where(
                    rollouts.c.id == rollout_id,
                    or_(rollouts.c.lease_expires.is_(None), rollouts.c.lease_expires <= now),
                )
                .values(fence=rollouts.c.fence + 1, lease_expires=now + LEASE)
                .returning(rollouts.c.fence)
            ).scalar_one_or_none()
        return None if result is None else int(result)

    def renew(self, rollout_id: str, fence: int) -> None:
        """Keep the lease.

        Raises:
            Fenced: another controller has taken over.
        """
        with self.database.begin() as connection:
            result = connection.execute(
                update(rollouts)
                .where(rollouts.c.id == rollout_id, rollouts.c.fence == fence)
                .values(lease_expires=self._clock.now() + LEASE)
            )
        if result.rowcount != 1:
            raise Fenced(f"rollout {rollout_id} is led by another controller", remedy="nothing: it goes on there")

    def let_go(self, rollout_id: str, fence: int) -> None:
        """Give the lease back, if it is still held."""
        with self.database.begin() as connection:
            connection.execute(
                update(rollouts)
                .where(rollouts.c.id == rollout_id, rollouts.c.fence == fence)
                .values(lease_expires=None)
            )

    def take_over(self, connection: Connection, rollout_id: str) -> int:
        """A new fence whoever leads it: for what a person orders. The present leader's next write is refused."""
        return int(
            connection.execute(
                update(rollouts)
                .where(rollouts.c.id == rollout_id)
                .values(fence=rollouts.c.fence + 1, lease_expires=None)
                .returning(rollouts.c.fence)
            ).scalar_one()
        )

    def get(self, rollout_id: str) -> Rollout:
        """One rollout.

        Raises:
            NotFound: there is none of that id.
        """
        with self.database.read() as connection:
            row = connection.execute(select(rollouts).where(rollouts.c.id == rollout_id)).mappings().one_or_none()
        if row is None:
            raise NotFound(f"rollout {rollout_id} does not exist", field="id", remedy="list them: maestro deploy list")
        return _rollout(row)

    def running(self, connection: Connection, model: str) -> Rollout | None:
        """The rollout of a model that has not ended."""
        row = (
            connection.execute(select(rollouts).where(rollouts.c.model == model, rollouts.c.status.in_(RUNNING)))
            .mappings()
            .first()
        )
        return None if row is None else _rollout(row)

    def unfinished(self) -> list[str]:
        """The rollouts that have work to do and nobody to do it."""
        now = self._clock.now()
        with self.database.read() as connection:
            rows = connection.execute(
                select(rollouts.c.id)
                .where(
                    rollouts.c.step != Step.DONE.value,
                    or_(rollouts.c.lease_expires.is_(None), rollouts.c.lease_expires <= now),
                )
                .order_by(rollouts.c.created_at)
            ).scalars()
            return [str(value) for value in rows]

    def count(self, connection: Connection, model: str) -> int:
        """How many rollouts a model has had."""
        return int(
            connection.execute(select(func.count()).select_from(rollouts).where(rollouts.c.model == model)).scalar_one()
        )

    def list(
        self, *, model: str | None = None, status: RolloutStatus | None = None, page: int = 1, page_size: int = 50
    ) -> tuple[list[Rollout], int]:
        """A page of rollouts, newest first, and how many there are."""
        filters = []
        if model is not None:
            filters.append(rollouts.c.model == model)
        if status is not None:
            filters.append(rollouts.c.status == status.value)
        with self.database.read() as connection:
            total = connection.execute(select(func.count()).select_from(rollouts).where(*filters)).scalar_one()
            rows = connection.execute(
                select(rollouts)
                .where(*filters)
                .order_by(rollouts.c.created_at.desc(), rollouts.c.id)
                .limit(page_size)
                .offset((page - 1) * page_size)
            ).mappings()
            return [_rollout(row) for row in rows], total


def _values(rollout: Rollout) -> dict[str, Any]:
    return {
        "status": rollout.status.value,
        "step": rollout.step.value,
        "rung": rollout.rung,
        "weight": rollout.weight,
        "graph_revision": rollout.graph_revision,
        "last_decision": rollout.last_decision,
        "state": rollout.state.document(),
        "finished_at": rollout.finished_at,
    }


def _fixed(rollout: Rollout) -> dict[str, Any]:
    names = ("model", "champion", "challenger", "strategy", "policy_digest", "started_by", "created_at")
    return {name: getattr(rollout, name) for name in names}


def _rollout(row: RowMapping) -> Rollout:
    return Rollout.model_validate({name: row[name] for name in Rollout.model_fields})
