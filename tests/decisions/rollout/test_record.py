"""Records of steps and their replay: the same bytes, or a refusal that says what does not fit."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from maestro.core.canonical import canonical_bytes
from maestro.core.decision import DecisionRecord, Subject, Verdict
from maestro.decisions.rollout import Look, make_record, replay, start
from maestro.decisions.rollout.record import ReplayMismatch
from tests.decisions.rollout.traffic import policy

POLICY = policy()
SUBJECT = Subject(model="m", version="1.2.0", digest="sha256:" + "1" * 64)
CODE = "0.1.0+lock:sha256:" + "2" * 64


def observed(bad: int = 0, **changes: Any) -> Look:
    document: dict[str, Any] = {
        "counts": {
            "errors": {"champion": [1, 990], "challenger": [bad, 10]},
            "quality": {"champion": [99, 990], "challenger": [1, 10]},
        },
        "blocks": {"slow": [[2, 990, 0, 10]]},
        "exposures": {"champion": 990, "challenger": 10},
        "requests": 1000,
        "elapsed_ms": 1000,
    }
    return Look.model_validate(document | changes)


def chain(looks: list[Look]) -> list[DecisionRecord]:
    """One record a look, as they come back from a store."""
    records: list[DecisionRecord] = []
    at = datetime(2026, 11, 1, tzinfo=UTC)
    for number, one in enumerate(looks):
        record, _ = make_record(
            POLICY,
            records[-1] if records else start(POLICY),
            one,
            at=at + timedelta(seconds=number),
            subject=SUBJECT,
            code=CODE,
            actor="system:controller",
            cost_usd_micros=number,
        )
        records.append(DecisionRecord.model_validate_json(canonical_bytes(record.document())))
    return records


RECORDS = chain(
    [
        observed(),
        observed(),
        observed(source_healthy=False),
        observed(requests=float("nan")),
        observed(bad=9),
    ]
)


@pytest.mark.shows("H6", env="laptop")
def test_every_step_replays_to_the_same_bytes() -> None:
    for before, record in zip([None, *RECORDS], RECORDS, strict=False):
        assert replay(record, before, POLICY, code=CODE) is record.verdict
    assert [record.verdict for record in RECORDS[2:]] == [Verdict.FREEZE, Verdict.FREEZE, Verdict.ROLL_BACK]
    assert RECORDS[1].inputs["prior"] == RECORDS[0].id == RECORDS[1].prev


def test_other_code_is_held_to_the_verdict_only() -> None:
    assert replay(RECORDS[1], RECORDS[0], POLICY, code="0.2.0") is RECORDS[1].verdict
    other = DecisionRecord.seal(**_fields(RECORDS[1]) | {"reasons": ({"metric": "none"},)})
    assert replay(other, RECORDS[0], POLICY, code="0.2.0") is RECORDS[1].verdict
    with pytest.raises(ReplayMismatch, match="bytes"):
        replay(other, RECORDS[0], POLICY, code=CODE)


def test_a_changed_verdict_is_found_even_when_it_is_sealed_again() -> None:
    forged = DecisionRecord.seal(**_fields(RECORDS[-1]) | {"verdict": Verdict.PROMOTE})
    assert forged.is_intact()
    for code in (CODE, "0.2.0"):
        with pytest.raises(ReplayMismatch, match="inputs give roll_back"):
            replay(forged, RECORDS[-2], POLICY, code=code)


def test_a_broken_seal_a_wrong_prior_and_a_wrong_policy_are_named() -> None:
    broken = RECORDS[1].model_copy(update={"verdict": Verdict.PROMOTE})
    with pytest.raises(ReplayMismatch, match="no intact"):
        replay(broken, RECORDS[0], POLICY, code=CODE)
    for prior in (None, RECORDS[1]):
        with pytest.raises(ReplayMismatch, match="continues"):
            replay(RECORDS[1], prior, POLICY, code=CODE)
    with pytest.raises(ReplayMismatch, match="another policy"):
        replay(RECORDS[1], RECORDS[0], policy(bake="9s"), code=CODE)


def test_a_record_is_plain_json_of_moderate_size() -> None:
    text = json.dumps(RECORDS[-1].document(), allow_nan=False)
    assert len(text) < 20_000


def _fields(record: DecisionRecord) -> dict[str, Any]:
    return {name: getattr(record, name) for name in DecisionRecord.model_fields if name not in {"id", "schema_"}}
