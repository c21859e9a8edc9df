"""Decision records are sealed: any change of content shows."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Any

import pytest

from maestro.core.decision import DecisionRecord, Subject, Verdict

FIELDS: dict[str, Any] = {
    "kind": "rollout.step",
    "at": datetime(2026, 1, 1, 12, 0, 0, 123456, tzinfo=UTC),
    "subject": Subject(model="m", version="1.2.0", digest="sha256:" + "a" * 64),
    "code": "0.1.0+lock:sha256:00",
    "inputs": {"rung": 10, "counts": {"errors": {"champion": [31, 9012], "challenger": [4, 1003]}}},
    "verdict": Verdict.KEEP_GOING,
    "actor": "system:controller",
}


def test_a_sealed_record_is_intact_and_survives_json() -> None:
    record = DecisionRecord.seal(**FIELDS)
    assert record.is_intact()
    again = DecisionRecord.model_validate(record.document())
    assert again == record
    assert again.is_intact()


@pytest.mark.parametrize(
    "change",
    [
        {"verdict": Verdict.PROMOTE},
        {"actor": "human:ada"},
        {"cost_usd_micros": 1},
        {"prev": "sha256:" + "b" * 64},
        {"inputs": {}},
    ],
)
def test_any_change_shows(change: dict[str, Any]) -> None:
    assert not DecisionRecord.seal(**FIELDS).model_copy(update=change).is_intact()


def test_the_same_fields_give_the_same_bytes() -> None:
    assert DecisionRecord.seal(**FIELDS).id == DecisionRecord.seal(**FIELDS).id


def test_nan_cannot_be_sealed() -> None:
    with pytest.raises(ValueError, match="not canonical"):
        DecisionRecord.seal(**{**FIELDS, "inputs": {"x": math.nan}})
