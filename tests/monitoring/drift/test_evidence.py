"""A drift decision is judged again from what was kept of it."""

from __future__ import annotations

import gzip
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
import pytest

from maestro.core.decision import DecisionRecord, Verdict
from maestro.core.errors import BadInput, NotFound
from maestro.monitoring.drift import DriftDecision, DriftOptions, Reference, check_drift, decide, replay_drift
from maestro.monitoring.drift.evidence import DriftEvidence, judge_evidence
from tests.monitoring.drift.conftest import make_table


def _decide(
    current: pd.DataFrame, folder: Path, options: DriftOptions | None = None
) -> tuple[DriftDecision, Reference]:
    reference = Reference.of(make_table(3000, 1), "here")
    check = check_drift(reference, current, "churn", options)
    return decide(check, reference.profile, current, folder), reference


def _seal(decision: DriftDecision) -> DecisionRecord:
    return DecisionRecord.seal(at=datetime(2026, 1, 1, tzinfo=UTC), code="test", actor="system:test", **dict(decision))


@pytest.mark.parametrize(("moved", "verdict"), [(0, Verdict.NO_DRIFT), (3, Verdict.DRIFT)])
def test_replay_gives_the_same_verdict(tmp_path: Path, moved: int, verdict: Verdict) -> None:
    record = _seal(_decide(make_table(3000, 3, moved=moved), tmp_path)[0])
    assert record.verdict is verdict
    assert replay_drift(record, tmp_path) is verdict


def test_the_evidence_gives_every_number_of_the_verdict_again(tmp_path: Path) -> None:
    current = make_table(2500, 3, moved=3)
    options = DriftOptions(target="x0")
    decision, reference = _decide(current, tmp_path, options)
    check = check_drift(reference, current, "churn", options)
    (file,) = tmp_path.glob("*.json.gz")
    evidence = DriftEvidence.model_validate_json(gzip.decompress(file.read_bytes()))
    features, target = judge_evidence(evidence, options)
    assert {each.column: each for each in features.columns} == {each.column: each for each in check.verdict.columns}
    assert (features.share, features.alarm, target) == (check.verdict.share, check.verdict.alarm, check.target)
    assert decision.verdict is Verdict.DRIFT


def test_the_record_names_digests_and_integers_only_beside_the_options(tmp_path: Path) -> None:
    decision, _ = _decide(make_table(3000, 3, moved=1), tmp_path)
    assert decision.inputs["evidence"].startswith("sha256:")
    assert decision.inputs["rows"] == [3000, 3000]
    assert [reason["column"] for reason in decision.reasons] == ["x0"]


def test_the_same_data_is_the_same_evidence(tmp_path: Path) -> None:
    first, _ = _decide(make_table(3000, 3), tmp_path)
    second, _ = _decide(make_table(3000, 3).sample(frac=1.0, random_state=1), tmp_path)
    assert first == second
    assert len(list(tmp_path.iterdir())) == 1


def test_evidence_that_is_gone_or_changed_cannot_be_replayed(tmp_path: Path) -> None:
    record = _seal(_decide(make_table(3000, 3), tmp_path)[0])
    (file,) = tmp_path.glob("*.json.gz")
    other = gzip.decompress(file.read_bytes()).replace(b'"n":3000', b'"n":3001', 1)
    file.write_bytes(gzip.compress(other))
    with pytest.raises(NotFound, match="gone or was changed"):
        replay_drift(record, tmp_path)
    file.write_bytes(b"rubbish")
    with pytest.raises(NotFound):
        replay_drift(record, tmp_path)
    file.unlink()
    with pytest.raises(NotFound):
        replay_drift(record, tmp_path)


def test_a_record_of_something_else_is_refused(tmp_path: Path) -> None:
    record = _seal(_decide(make_table(3000, 3), tmp_path)[0])
    with pytest.raises(BadInput, match="inputs of a drift check"):
        replay_drift(record.model_copy(update={"inputs": {}}), tmp_path)
