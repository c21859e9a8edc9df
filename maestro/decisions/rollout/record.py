"""The record of a rollout step, and its replay."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from maestro.core.decision import DecisionRecord, Subject, Verdict
from maestro.core.errors import BadInput
from maestro.core.policy import RolloutPolicy
from maestro.decisions.rollout.look import Look
from maestro.decisions.rollout.state import RolloutState
from maestro.decisions.rollout.step import StepResult, step

KIND = "rollout.step"


def make_record(
    policy: RolloutPolicy,
    prior: DecisionRecord | RolloutState,
    look: Look,
    *,
    at: datetime,
    subject: Subject,
    code: str,
    actor: str,
    cost_usd_micros: int = 0,
    prev: str | None = None,
) -> tuple[DecisionRecord, StepResult]:
    """Take a step and record it.

    Args:
        policy: the rules.
        prior: the record of the step before, whose state is continued; for the first step the state from `start`.
        look: what was observed since.
        at: now, by the caller's clock.
        subject: the challenger.
        code: package version + lock digest.
        actor: who decided, such as `system:controller`.
        cost_usd_micros: training, tuning and rollout of this version so far.
        prev: the digest of the newest record of the whole log, whatever its kind; the default is the step before.
    """
    state = prior if isinstance(prior, RolloutState) else RolloutState.model_validate(prior.state)
    result = step(policy, state, look)
    inputs: dict[str, Any] = {"rung": policy.rungs[state.rung].weight, "look": look.document()}
    if isinstance(prior, DecisionRecord):
        inputs["prior"] = prior.id
    else:
        inputs["start"] = prior.document()
    record = DecisionRecord.seal(
        kind=KIND,
        at=at,
        subject=subject,
        policy=policy.content_digest(),
        code=code,
        inputs=inputs,
        verdict=result.verdict,
        reasons=result.reasons,
        state=result.state.document(),
        actor=actor,
        cost_usd_micros=cost_usd_micros,
        prev=prev if prev is not None or isinstance(prior, RolloutState) else prior.id,
    )
    return record, result


class ReplayMismatch(BadInput):
    """A record that its own inputs do not lead to."""

    slug, title = "replay-mismatch", "Replay differs"


def replay(record: DecisionRecord, prior: DecisionRecord | None, policy: RolloutPolicy, *, code: str) -> Verdict:
    """Recompute a step from its record and compare.

    Args:
        record: the step.
        prior: the record that it names as its prior; None for the first step.
        policy: the rules whose fingerprint it names.
        code: the code that replays. The same code must give the same bytes, another the same verdict.

    Returns:
        The verdict, which is the record's.

    Raises:
        ReplayMismatch: something was changed, or a wrong prior or policy was given.
    """
    if record.kind != KIND or not record.is_intact():
        raise ReplayMismatch(f"record {record.id} is no intact {KIND}", remedy="run `maestro audit verify`")
    if record.policy != policy.content_digest():
        raise ReplayMismatch(
            f"record {record.id} was decided by another policy", remedy=f"give the policy {record.policy}"
        )
    named = record.inputs.get("prior")
    if named != (prior.id if prior is not None else None) or (prior is not None and not prior.is_intact()):
        raise ReplayMismatch(f"record {record.id} continues {named}", remedy="give the record that it names, unchanged")
    source = prior if prior is not None else RolloutState.model_validate(record.inputs["start"])
    again, _ = make_record(
        policy,
        source,
        Look.model_validate(record.inputs["look"]),
        at=record.at,
        subject=record.subject,
        code=record.code,
        actor=record.actor,
        cost_usd_micros=record.cost_usd_micros,
        prev=record.prev,
    )
    if again.verdict != record.verdict:
        raise ReplayMismatch(f"record {record.id} says {record.verdict}, its inputs give {again.verdict}")
    if code == record.code and again.id != record.id:
        raise ReplayMismatch(f"record {record.id} has the verdict but not the bytes that its inputs give")
    return again.verdict
