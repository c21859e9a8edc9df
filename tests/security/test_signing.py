from __future__ import annotations

import base64
import json
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maestro.core.canonical import canonical_bytes
from maestro.core.errors import Conflict, Malformed, Refused, Untrusted
from maestro.core.statement import PAYLOAD_TYPE, Envelope, Role, Signature, Statement, StatementSubject, TrustPolicy
from maestro.security.signing import PrivateKey, pre_authentication_encoding, verify
from maestro.security.trust import add_key, retire_key, revoke_key
from tests.security.conftest import NOW, Keys

BASE64 = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"


def statement(**predicate: object) -> Statement:
    return Statement(
        subject=(StatementSubject(name="churn@1.2.0", digest={"sha256": "0" * 64}),),
        predicate_type="urn:maestro:promotion:v1",
        predicate={"issued": "2026-03-01T12:00:00.000Z"} | predicate,
    )


def sign_bytes(key: PrivateKey, payload: bytes, payload_type: str = PAYLOAD_TYPE) -> Envelope:
    """What a signer that holds the key but keeps no rule could write."""
    raw = key._key.sign(pre_authentication_encoding(payload_type, payload))
    return Envelope(
        payload=base64.b64encode(payload).decode(),
        payload_type=payload_type,
        signatures=(Signature(keyid=key.keyid, sig=base64.b64encode(raw).decode()),),
    )


def test_signed_statement_verifies_and_carries_its_content(keys: Keys) -> None:
    envelope = keys.decider.sign(statement(decision="x"))
    assert verify(envelope, keys.policy, "decider", NOW) == statement(decision="x")
    assert json.loads(base64.b64decode(envelope.payload))["_type"] == "https://in-toto.io/Statement/v1"


def test_key_id_is_the_digest_of_the_public_key_as_openssl_sees_it(keys: Keys) -> None:
    import hashlib

    der = base64.b64decode("".join(keys.decider.public_pem.splitlines()[1:-1]))
    assert keys.decider.keyid == hashlib.sha256(der).hexdigest()


@given(position=st.integers(min_value=0), bit=st.integers(0, 7), part=st.sampled_from(["payload", "sig"]))
def test_one_flipped_bit_anywhere_is_refused(position: int, bit: int, part: str) -> None:
    key = _KEY
    envelope = key.sign(statement())
    text = envelope.payload if part == "payload" else envelope.signatures[0].sig
    raw = bytearray(base64.b64decode(text))
    raw[position % len(raw)] ^= 1 << bit
    changed = base64.b64encode(bytes(raw)).decode()
    if part == "payload":
        envelope = envelope.model_copy(update={"payload": changed})
    else:
        envelope = envelope.model_copy(
            update={"signatures": (envelope.signatures[0].model_copy(update={"sig": changed}),)}
        )
    with pytest.raises(Untrusted, match="does not verify"):
        verify(envelope, _POLICY, "decider", NOW)


_KEY = PrivateKey.generate()
_POLICY = add_key(TrustPolicy(), _KEY.public_pem, "decider", not_before=NOW - timedelta(days=1))


def test_unknown_key_is_refused(keys: Keys) -> None:
    with pytest.raises(Untrusted, match="not in the trust policy"):
        verify(PrivateKey.generate().sign(statement()), keys.policy, "decider", NOW)


def test_a_key_cannot_sign_for_the_other_role(keys: Keys) -> None:
    with pytest.raises(Untrusted, match="has the role builder"):
        verify(keys.builder.sign(statement()), keys.policy, "decider", NOW)
    with pytest.raises(Untrusted, match="has the role decider"):
        verify(keys.decider.sign(statement()), keys.policy, "builder", NOW)


def test_a_signature_that_stands_twice_is_refused(keys: Keys) -> None:
    envelope = keys.decider.sign(statement())
    twice = envelope.model_copy(update={"signatures": envelope.signatures * 2})
    with pytest.raises(Untrusted, match="signs twice"):
        verify(twice, keys.policy, "decider", NOW)


def test_a_good_signature_does_not_carry_a_foreign_one(keys: Keys) -> None:
    good, foreign = keys.decider.sign(statement()), keys.builder.sign(statement())
    both = good.model_copy(update={"signatures": good.signatures + foreign.signatures})
    with pytest.raises(Untrusted, match="has the role builder"):
        verify(both, keys.policy, "decider", NOW)


def test_no_signature_is_refused(keys: Keys) -> None:
    bare = keys.decider.sign(statement()).model_copy(update={"signatures": ()})
    with pytest.raises(Untrusted, match="no signature"):
        verify(bare, keys.policy, "decider", NOW)


@pytest.mark.parametrize("spelling", ["unpadded", "newline", "urlsafe", "loose bits", "junk"])
def test_base64_has_one_spelling(keys: Keys, spelling: str) -> None:
    envelope = keys.decider.sign(statement())
    text = envelope.signatures[0].sig
    last = BASE64.index(text[-3])
    changed = {
        "unpadded": text.rstrip("="),
        "newline": text[:10] + "\n" + text[10:],
        "urlsafe": "-" + text[1:],
        "loose bits": text[:-3] + BASE64[last ^ 1] + "==",
        "junk": "é" + text[1:],
    }[spelling]
    tampered = envelope.model_copy(update={"signatures": (Signature(keyid=keys.decider.keyid, sig=changed),)})
    with pytest.raises(Untrusted, match="base64"):
        verify(tampered, keys.policy, "decider", NOW)


@pytest.mark.parametrize(
    "payload",
    [
        json.dumps(statement().document(), indent=1).encode(),
        canonical_bytes(statement().document())[:-1] + b',"_type":"https://in-toto.io/Statement/v1"}',
        b"\xff",
        b"[" * 100_000,
        b"NaN",
    ],
    ids=["spaces", "a member twice", "not UTF-8", "deep", "NaN"],
)
def test_only_canonical_payloads_are_read(keys: Keys, payload: bytes) -> None:
    with pytest.raises(Untrusted, match="canonical"):
        verify(sign_bytes(keys.decider, payload), keys.policy, "decider", NOW)


def test_canonical_json_that_is_no_statement_is_refused(keys: Keys) -> None:
    with pytest.raises(Untrusted, match="not an in-toto statement"):
        verify(sign_bytes(keys.decider, b'{"a":1}'), keys.policy, "decider", NOW)


def test_another_payload_type_is_refused(keys: Keys) -> None:
    payload = canonical_bytes(statement().document())
    with pytest.raises(Untrusted, match="payload type"):
        verify(sign_bytes(keys.decider, payload, "application/json"), keys.policy, "decider", NOW)


def test_a_statement_without_its_time_or_from_the_future_is_refused(keys: Keys) -> None:
    document = statement().document()
    document["predicate"] = {}
    with pytest.raises(Untrusted, match="when it was issued"):
        verify(sign_bytes(keys.decider, canonical_bytes(document)), keys.policy, "decider", NOW)
    envelope = keys.decider.sign(statement())
    verify(envelope, keys.policy, "decider", NOW - timedelta(seconds=60))
    with pytest.raises(Untrusted, match="future"):
        verify(envelope, keys.policy, "decider", NOW - timedelta(seconds=61))


def test_revocation_takes_back_what_was_signed_before_from_that_instant_on(keys: Keys) -> None:
    envelope = keys.decider.sign(statement())
    moment = NOW + timedelta(hours=1)
    policy = revoke_key(keys.policy, keys.decider.keyid, moment)
    verify(envelope, policy, "decider", moment - timedelta(milliseconds=1))
    with pytest.raises(Untrusted, match="was revoked"):
        verify(envelope, policy, "decider", moment)
    with pytest.raises(Untrusted, match="was revoked"):
        verify(envelope, policy, "decider", moment + timedelta(days=365))


def test_a_retired_keys_statements_stay_good_and_later_ones_are_refused(keys: Keys) -> None:
    policy = retire_key(keys.policy, keys.decider.keyid, NOW)
    year = NOW + timedelta(days=365)
    verify(keys.decider.sign(statement()), policy, "decider", year)
    late = keys.decider.sign(statement(issued="2026-03-01T12:00:00.001Z"))
    with pytest.raises(Untrusted, match="outside the validity"):
        verify(late, policy, "decider", year)


def test_a_statement_from_before_the_keys_validity_is_refused(keys: Keys) -> None:
    with pytest.raises(Untrusted, match="outside the validity"):
        verify(keys.decider.sign(statement(issued="2026-02-01T00:00:00.000Z")), keys.policy, "decider", NOW)


def test_a_policy_that_names_another_keys_bytes_is_no_way_in(keys: Keys) -> None:
    other = PrivateKey.generate()
    forged = TrustPolicy(
        keys=tuple(
            key.model_copy(update={"public_key": other.public_pem}) if key.keyid == keys.decider.keyid else key
            for key in keys.policy.keys
        )
    )
    envelope = other.sign(statement())
    envelope = envelope.model_copy(
        update={"signatures": (Signature(keyid=keys.decider.keyid, sig=envelope.signatures[0].sig),)}
    )
    with pytest.raises(Untrusted, match="another key's bytes"):
        verify(envelope, forged, "decider", NOW)


def test_private_key_file_is_for_its_owner_only(tmp_path: Path) -> None:
    key, path = PrivateKey.generate(), tmp_path / "keys" / "decider.pem"
    key.save(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert PrivateKey.load(path).keyid == key.keyid
    assert "PRIVATE" not in repr(key)
    for mode in (0o640, 0o604, 0o620, 0o644):
        path.chmod(mode)
        with pytest.raises(Refused, match="too open") as refused:
            PrivateKey.load(path)
        assert f"chmod 600 {path}" in refused.value.remedy


def test_private_key_file_may_not_be_a_link_or_be_overwritten(tmp_path: Path) -> None:
    key, path = PrivateKey.generate(), tmp_path / "decider.pem"
    key.save(path)
    (tmp_path / "link.pem").symlink_to(path)
    with pytest.raises(Refused, match="cannot be opened"):
        PrivateKey.load(tmp_path / "link.pem")
    with pytest.raises(Conflict):
        PrivateKey.generate().save(path)
    assert PrivateKey.load(path).keyid == key.keyid
    path.write_bytes(b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n")
    with pytest.raises(Malformed):
        PrivateKey.load(path)


def test_an_envelope_signed_by_each_role_verifies_as_that_role_only(keys: Keys) -> None:
    roles: tuple[Role, ...] = ("builder", "decider", "server")
    for role, key in (("builder", keys.builder), ("decider", keys.decider)):
        accepted = []
        for candidate in roles:
            try:
                verify(key.sign(statement()), keys.policy, candidate, NOW)
            except Untrusted:
                continue
            accepted.append(candidate)
        assert accepted == [role]
