"""Replay: every decision computed again from its record by the pure function that made it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from maestro.core.decision import DecisionRecord, Verdict
from maestro.core.errors import MaestroError, NotFound
from maestro.core.model import Model
from maestro.core.policy import RolloutPolicy
from maestro.decisions.rollout import record as rollout_record
from maestro.governance.decisions.code import code_identity
from maestro.governance.decisions.store import DecisionStore


class ReplayContext(Model):
    """What a replayer may need beside the record: the record it continues, its policy, the code that replays."""

    prior: DecisionRecord | None = None
    policy: dict[str, Any] | None = None
    code: str


Replayer = Callable[[DecisionRecord, ReplayContext], Verdict]
"""Computes the verdict of a record again. Raises a MaestroError when the record's inputs do not lead to it."""


class ReplayReport(Model):
    """What replaying one record gave."""

    id: str
    kind: str
    recorded: Verdict
    replayed: Verdict | None = None
    ok: bool
    reason: str = ""


class Replayers:
    """The replayer of each kind. Rooms that decide register theirs."""

    def __init__(self) -> None:
        self._by_kind: dict[str, Replayer] = {rollout_record.KIND: _rollout_step}

    def register(self, kind: str, replayer: Replayer) -> None:
        """Let `replayer` replay records of `kind`."""
        self._by_kind[kind] = replayer

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds that can be replayed."""
        return tuple(sorted(self._by_kind))

    def replay(self, record: DecisionRecord, store: DecisionStore) -> ReplayReport:
        """Compute one record again."""

        def report(ok: bool, reason: str, replayed: Verdict | None = None) -> ReplayReport:
            return ReplayReport(
                id=record.id, kind=record.kind, recorded=record.verdict, replayed=replayed, ok=ok, reason=reason
            )

        if not record.is_intact():
            return report(False, "the record's content does not match its id")
        replayer = self._by_kind.get(record.kind)
        if replayer is None:
            return report(False, f"no replayer for {record.kind!r}; known: {', '.join(self.kinds)}")
        try:
            verdict = replayer(record, _context(record, store))
        except MaestroError as error:
            return report(False, error.detail)
        if verdict != record.verdict:
            return report(False, f"the inputs give {verdict.value}", verdict)
        return report(True, "same verdict and bytes" if record.code == code_identity() else "same verdict", verdict)


def replay_all(
    store: DecisionStore, replayers: Replayers, records: Iterable[DecisionRecord] | None = None
) -> list[ReplayReport]:
    """Replay the whole chain, or `records` of it. Over the whole chain its links are checked too."""
    whole = records is None
    reports = []
    previous: str | None = None
    for record in store.chain() if records is None else records:
        report = replayers.replay(record, store)
        if whole and record.prev != previous:
            report = report.model_copy(update={"ok": False, "reason": f"continues {record.prev}, expected {previous}"})
        previous = record.id
        reports.append(report)
    return reports


def _context(record: DecisionRecord, store: DecisionStore) -> ReplayContext:
    named = record.inputs.get("prior")
    policy = store.policy_document(record.policy) if record.policy is not None else None
    return ReplayContext(
        prior=store.get(named) if isinstance(named, str) else None, policy=policy, code=code_identity()
    )


def _rollout_step(record: DecisionRecord, context: ReplayContext) -> Verdict:
    if context.policy is None:
        raise NotFound(f"policy {record.policy} is not stored", field="policy")
    policy = RolloutPolicy.model_validate(context.policy)
    return rollout_record.replay(record, context.prior, policy, code=context.code)
