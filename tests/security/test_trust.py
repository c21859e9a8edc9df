from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import pytest

from maestro.core.errors import BadInput, Conflict, Malformed, NotFound, Refused, Untrusted
from maestro.core.statement import TrustPolicy
from maestro.security.signing import PrivateKey
from maestro.security.trust import add_key, load_trust, may_sign, retire_key, revoke_key, save_trust
from tests.security.conftest import NOW, Keys


def test_a_saved_policy_loads_as_it_was(tmp_path: Path, keys: Keys) -> None:
    path = tmp_path / "trust-policy.json"
    save_trust(path, keys.policy)
    assert load_trust(path) == keys.policy
    assert path.stat().st_mode & 0o777 == 0o644


def test_a_policy_that_others_may_write_is_refused(tmp_path: Path, keys: Keys) -> None:
    path = tmp_path / "trust-policy.json"
    save_trust(path, keys.policy)
    path.chmod(0o666)
    with pytest.raises(Refused, match="too open"):
        load_trust(path)


def test_a_mounted_policy_may_be_a_link(tmp_path: Path, keys: Keys) -> None:
    save_trust(tmp_path / "..data.json", keys.policy)
    (tmp_path / "trust-policy.json").symlink_to("..data.json")
    assert load_trust(tmp_path / "trust-policy.json") == keys.policy


def test_a_missing_policy_trusts_nobody(tmp_path: Path) -> None:
    with pytest.raises(Untrusted, match="does not exist") as missing:
        load_trust(tmp_path / "trust-policy.json")
    assert "MAESTRO_TRUST_POLICY" in missing.value.remedy


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not JSON"),
        ('{"schema": "maestro.trust/1", "kyes": []}', "kyes"),
        ('{"schema": "maestro.trust/2"}', "schema"),
        (
            '{"keys": [{"keyid": "x", "role": "decider", "public_key": "", "not_before": "2026-01-01T00:00:00Z"}]}',
            "keyid",
        ),
    ],
)
def test_a_wrong_policy_names_the_field(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "trust-policy.json"
    path.write_text(text)
    path.chmod(0o644)
    with pytest.raises(BadInput, match=message):
        load_trust(path)


def test_a_policy_whose_key_id_is_not_its_keys_is_refused(tmp_path: Path, keys: Keys) -> None:
    document = keys.policy.document()
    document["keys"][0]["public_key"] = PrivateKey.generate().public_pem
    path = tmp_path / "trust-policy.json"
    path.write_text(json.dumps(document))
    path.chmod(0o644)
    with pytest.raises(Malformed, match=r"keys\.0\.keyid"):
        load_trust(path)


def test_one_key_has_one_role(keys: Keys) -> None:
    with pytest.raises(Conflict):
        add_key(keys.policy, keys.builder.public_pem, "decider", not_before=NOW)


def test_a_key_of_another_kind_is_refused() -> None:
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    pem = ec.generate_private_key(ec.SECP256R1()).public_key()
    text = pem.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    with pytest.raises(Malformed, match="Ed25519"):
        add_key(TrustPolicy(), text, "decider", not_before=NOW)


def test_retirement_and_revocation_are_found_by_a_prefix_and_never_postponed(keys: Keys) -> None:
    policy = revoke_key(keys.policy, keys.decider.keyid[:12], NOW)
    assert revoke_key(policy, keys.decider.keyid, NOW + timedelta(days=1)) == policy
    policy = retire_key(policy, keys.builder.keyid, NOW)
    assert retire_key(policy, keys.builder.keyid, NOW + timedelta(days=1)) == policy
    with pytest.raises(NotFound):
        revoke_key(policy, "0" * 64, NOW)
    with pytest.raises(NotFound):
        revoke_key(policy, "", NOW)


def test_who_may_sign_when(keys: Keys) -> None:
    identity = keys.decider.keyid
    assert may_sign(keys.policy, identity, "decider", NOW)
    assert not may_sign(keys.policy, identity, "builder", NOW)
    assert not may_sign(keys.policy, identity, "decider", NOW - timedelta(days=2))
    assert not may_sign(revoke_key(keys.policy, identity, NOW), identity, "decider", NOW)
    assert not may_sign(retire_key(keys.policy, identity, NOW), identity, "decider", NOW + timedelta(seconds=1))
