from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from maestro.core.errors import Conflict, Refused, Untrusted
from maestro.security.keyring import ensure_keys, key_path, rotate_key
from maestro.security.signing import PrivateKey, verify
from maestro.security.statements import check_admission, promotion, provenance
from maestro.security.trust import load_trust
from tests.security.conftest import DIGEST, NOW, Version, predicate


def test_keys_are_made_once(tmp_path: Path) -> None:
    trust = tmp_path / "trust-policy.json"
    policy = ensure_keys(tmp_path / "keys", trust, NOW)
    assert ensure_keys(tmp_path / "keys", trust, NOW + timedelta(days=1)) == policy == load_trust(trust)
    assert {key.role for key in policy.keys} == {"builder", "decider"}
    assert (tmp_path / "keys").stat().st_mode & 0o777 == 0o700


def test_a_key_that_the_policy_does_not_trust_is_left_to_a_person(tmp_path: Path) -> None:
    trust = tmp_path / "trust-policy.json"
    ensure_keys(tmp_path / "keys", trust, NOW)
    PrivateKey.generate().save(key_path(tmp_path / "keys", "decider"), replace=True)
    with pytest.raises(Conflict, match=r"decider\.pem"):
        ensure_keys(tmp_path / "keys", trust, NOW)
    key_path(tmp_path / "keys", "builder").chmod(0o644)
    with pytest.raises(Refused, match="too open"):
        ensure_keys(tmp_path / "keys", trust, NOW)


@pytest.mark.parametrize("compromised", [False, True])
def test_rotation_keeps_old_statements_and_a_compromise_takes_them_back(
    tmp_path: Path, version: Version, compromised: bool
) -> None:
    keys, trust = tmp_path / "keys", tmp_path / "trust-policy.json"
    ensure_keys(keys, trust, NOW)
    built = provenance(
        version.manifest, run_id="r", job_id="j", builder="service:worker", code="c", materials={"d": DIGEST}, at=NOW
    )
    envelopes = [
        PrivateKey.load(key_path(keys, "builder")).sign(built),
        PrivateKey.load(key_path(keys, "decider")).sign(promotion(version.manifest, predicate())),
    ]
    old = PrivateKey.load(key_path(keys, "decider"))
    later = NOW + timedelta(days=1)
    new = rotate_key(keys, trust, "decider", later, compromised=compromised)
    assert PrivateKey.load(key_path(keys, "decider")).keyid == new.keyid != old.keyid
    policy = load_trust(trust)
    after = later + timedelta(hours=1)

    def admitted() -> None:
        check_admission((version.manifest, envelopes), policy, purpose="production", environment="laptop", at=after)

    if compromised:
        with pytest.raises(Untrusted, match="revoked"):
            admitted()
    else:
        admitted()
    late = predicate(issued=after)
    verify(new.sign(promotion(version.manifest, late)), policy, "decider", after)
    with pytest.raises(Untrusted):
        verify(old.sign(promotion(version.manifest, late)), policy, "decider", after)
