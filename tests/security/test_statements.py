from __future__ import annotations

import json
import shutil
from datetime import timedelta
from pathlib import Path

import pytest

from maestro.core.errors import NotFound, Untrusted
from maestro.core.model import format_time
from maestro.core.statement import ApprovalRef, TrustPolicy
from maestro.security.signing import PrivateKey
from maestro.security.statements import (
    AUTHORISATION_FILE,
    PROMOTION_FILE,
    Admission,
    Purpose,
    check_admission,
    promotion,
    read_envelope,
    rollout_authorisation,
    write_envelope,
)
from tests.security.conftest import DIGEST, NOW, Keys, Version, predicate, write_version


def check(version: Version, policy: TrustPolicy, purpose: Purpose = "production", **changes: object) -> Admission:
    arguments: dict[str, object] = {"environment": "laptop", "at": NOW, "expected_digest": version.digest} | changes
    return check_admission(version.folder, policy, purpose=purpose, **arguments)  # type: ignore[arg-type]


def test_a_promoted_version_is_admitted_for_every_purpose(promoted: Version, keys: Keys) -> None:
    admission = check(promoted, keys.policy)
    assert admission.kind == "promotion"
    assert admission.manifest == promoted.manifest
    assert admission.predicate.decision == DIGEST
    assert admission.provenance.materials == {"data/train.parquet": DIGEST}
    assert check(promoted, keys.policy, "candidate").kind == "promotion"


def test_a_rollout_authorisation_admits_a_candidate_and_never_production(promoted: Version, keys: Keys) -> None:
    (promoted.folder / "statements" / PROMOTION_FILE).unlink()
    write_envelope(
        promoted.folder, AUTHORISATION_FILE, keys.decider.sign(rollout_authorisation(promoted.manifest, predicate()))
    )
    assert check(promoted, keys.policy, "candidate").kind == "rollout-authorisation"
    with pytest.raises(Untrusted, match="no valid promotion statement"):
        check(promoted, keys.policy)


@pytest.mark.shows("E5", "K7", env="laptop")
def test_without_statement_or_provenance_a_version_is_refused(promoted: Version, keys: Keys) -> None:
    (promoted.folder / "statements" / PROMOTION_FILE).unlink()
    with pytest.raises(Untrusted, match="none was found") as refused:
        check(promoted, keys.policy, "candidate")
    assert refused.value.remedy
    write_envelope(promoted.folder, PROMOTION_FILE, keys.decider.sign(promotion(promoted.manifest, predicate())))
    (promoted.folder / "provenance.json").unlink()
    with pytest.raises(Untrusted, match="no valid provenance: none was found"):
        check(promoted, keys.policy)


def test_a_statement_is_bound_to_environment_expiry_and_rollout_policy(promoted: Version, keys: Keys) -> None:
    with pytest.raises(Untrusted, match="environment laptop"):
        check(promoted, keys.policy, environment="production")
    end = NOW + timedelta(days=30)
    check(promoted, keys.policy, at=end - timedelta(milliseconds=1))
    with pytest.raises(Untrusted, match="expired at " + format_time(end)):
        check(promoted, keys.policy, at=end)
    check(promoted, keys.policy, rollout_policy="sha256:" + "b" * 64)
    with pytest.raises(Untrusted, match="rollout policy"):
        check(promoted, keys.policy, rollout_policy="sha256:" + "c" * 64)


def test_a_statement_does_not_move_to_other_bytes_or_another_version(
    promoted: Version, keys: Keys, tmp_path: Path
) -> None:
    other = write_version(tmp_path / "other", {"MLmodel": b"another"})
    shutil.copy(promoted.folder / "provenance.json", other.folder)
    shutil.copytree(promoted.folder / "statements", other.folder / "statements")
    with pytest.raises(Untrusted, match="not these bytes"):
        check(other, keys.policy)
    manifest = json.loads((promoted.folder / "manifest.json").read_text())
    manifest["version"] = "9.9.9"
    (promoted.folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(Untrusted, match="expected"):
        check(promoted, keys.policy)
    with pytest.raises(Untrusted, match="not these bytes"):
        check(promoted, keys.policy, expected_digest=None)


def test_the_builder_cannot_promote_and_the_decider_cannot_vouch_for_files(promoted: Version, keys: Keys) -> None:
    path = promoted.folder / "statements" / PROMOTION_FILE
    path.unlink()
    write_envelope(promoted.folder, PROMOTION_FILE, keys.builder.sign(promotion(promoted.manifest, predicate())))
    with pytest.raises(Untrusted, match="has the role builder"):
        check(promoted, keys.policy)


def test_two_approvals_of_one_principal_are_refused(promoted: Version, keys: Keys) -> None:
    twice = tuple(ApprovalRef(id=str(number), principal="human:ada", digest=DIGEST) for number in range(2))
    envelope = keys.decider.sign(promotion(promoted.manifest, predicate(approvals=twice)))
    write_envelope(promoted.folder, PROMOTION_FILE, envelope)
    with pytest.raises(Untrusted, match="twice"):
        check(promoted, keys.policy)


def test_one_good_statement_among_bad_ones_is_enough(promoted: Version, keys: Keys) -> None:
    stranger = PrivateKey.generate().sign(promotion(promoted.manifest, predicate()))
    write_envelope(promoted.folder, "a-stranger.json", stranger)
    assert check(promoted, keys.policy).kind == "promotion"


def test_statement_files_that_are_links_or_no_envelopes_are_refused(promoted: Version, keys: Keys) -> None:
    (promoted.folder / "statements" / "x.json").symlink_to("/etc/passwd")
    with pytest.raises(Untrusted, match="link"):
        check(promoted, keys.policy)
    (promoted.folder / "statements" / "x.json").unlink()
    (promoted.folder / "statements" / "x.json").write_text("{}")
    with pytest.raises(Untrusted, match=r"x\.json is not a DSSE envelope"):
        check(promoted, keys.policy)


def test_envelopes_are_found_by_name(promoted: Version) -> None:
    assert len(read_envelope(promoted.folder, PROMOTION_FILE).signatures) == 1
    with pytest.raises(NotFound):
        read_envelope(promoted.folder, AUTHORISATION_FILE)
