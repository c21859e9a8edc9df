"""How long a job would wait before it starts, by playing the queue forward."""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from maestro.decisions.queue_order import Claim, Limits, order, too_large

LOOK_AHEAD = 200
"""Jobs that are played through; for a longer queue the time they take is carried on in proportion."""


@dataclass(frozen=True, slots=True)
class Wait:
    """Whether a job fits now, waits or never fits; what binds; and the seconds until it starts (None: never)."""

    verdict: Literal["fits", "waits", "never"]
    position: int
    limit: str | None
    reason: str
    seconds: float | None


def forecast(
    claim: Claim, queued: Sequence[Claim], running: Sequence[Claim], limits: Limits, seconds: Mapping[str, float]
) -> Wait:
    """Play the queue until `claim` starts: whenever a job ends, those whose turn it is start.

    Workers enough for the limits are taken to be there.

    Args:
        claim: the job asked about.
        queued: every other queued job.
        running: what runs now.
        limits: what may run at once.
        seconds: job id → how long it takes (queued) or still takes (running); 0 for one that is not named.

    >>> from datetime import UTC, datetime
    >>> from maestro.core.jobs import Priority
    >>> t = datetime(2026, 1, 1, tzinfo=UTC)
    >>> one = Claim("r", "a", Priority.NORMAL, t)
    >>> forecast(Claim("new", "a", Priority.NORMAL, t), [], [one], Limits(jobs=1), {"r": 30.0}).seconds
    30.0
    """
    beyond = too_large(claim, limits)
    turns = {turn.job_id: turn for turn in order([*queued, claim], running, limits)}
    own = turns[claim.job_id]
    if beyond is not None:
        return Wait("never", own.position, beyond[0], beyond[1], None)
    if own.start:
        return Wait("fits", own.position, None, own.reason, 0.0)
    ahead = sorted(
        (other for other in queued if turns[other.job_id].position < own.position),
        key=lambda c: turns[c.job_id].position,
    )
    near = ahead[:LOOK_AHEAD]
    waited = _play(claim, near, running, limits, seconds)
    if len(ahead) > len(near):
        waited *= len(ahead) / len(near)
    return Wait("waits", own.position, own.limit, own.reason, waited)


def _play(
    claim: Claim, queued: Sequence[Claim], running: Sequence[Claim], limits: Limits, seconds: Mapping[str, float]
) -> float:
    now = 0.0
    waiting = {other.job_id: other for other in (*queued, claim)}
    held = {other.job_id: other for other in running}
    ends = [(seconds.get(other.job_id, 0.0), other.job_id) for other in running]
    heapq.heapify(ends)
    while True:
        for turn in order(list(waiting.values()), list(held.values()), limits):
            if turn.start:
                if turn.job_id == claim.job_id:
                    return now
                held[turn.job_id] = waiting.pop(turn.job_id)
                heapq.heappush(ends, (now + seconds.get(turn.job_id, 0.0), turn.job_id))
        if not ends:
            # nothing runs and still it may not start: only jobs that can never start are before it
            return now
        now, ended = heapq.heappop(ends)
        del held[ended]
