"""Verdicts of a rollout that stand on no evidence from traffic: on readiness, and on what a person did."""

from __future__ import annotations

from typing import Any

from maestro.core.decision import DecisionRecord, Verdict
from maestro.core.errors import BadInput
from maestro.core.graph import InferenceGraph
from maestro.governance.decisions.replay import ReplayContext

READINESS, HUMAN = "rollout.readiness", "human"
"""Kinds of these decisions; those on evidence are made by the judge."""


def readiness_verdict(inputs: dict[str, Any]) -> Verdict:
    """A version that passed its gates and is ready is switched to; one that is not gives way."""
    return Verdict.PROMOTE if inputs["ready"] is True and inputs.get("gate") else Verdict.ROLL_BACK


def replay_readiness(record: DecisionRecord, context: ReplayContext) -> Verdict:
    """Decide on readiness again."""
    return readiness_verdict(record.inputs)


def replay_human(record: DecisionRecord, context: ReplayContext) -> Verdict:
    """What a person decided is an input; its verdict follows from what they did."""
    known = {
        "edit": Verdict.FREEZE,
        "abort": Verdict.ROLL_BACK,
        "rollback": Verdict.ROLL_BACK,
        "resume": Verdict.KEEP_GOING,
    }
    decided = str(record.inputs.get("decided"))
    if decided not in known:
        raise BadInput(f"a person cannot decide {decided!r}", field="inputs.decided", remedy="see maestro audit verify")
    return known[decided]


def foreign_edit(found: InferenceGraph | None, expected_revision: int | None) -> dict[str, Any]:
    """The inputs of a decision that a person made by editing the graph."""
    inputs: dict[str, Any] = {"decided": "edit", "graph": None if found is None else found.document()}
    if expected_revision is not None:
        inputs["replaced_revision"] = expected_revision
    return inputs
