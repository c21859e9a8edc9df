"""What is public of secrets: recognises and verifies, and holds nothing that logs in or signs."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from maestro.core.errors import BadInput, Conflict, Malformed, Unauthenticated
from maestro.core.principals import PrincipalRole
from maestro.operations.platform.public_halves import PublicHalves
from maestro.operations.platform.values import make_values
from maestro.security.credential import Credential
from maestro.security.verifiers import KeyVerifiers

NOW = datetime(2026, 1, 1, tzinfo=UTC)
ADA: dict[str, object] = {"api-key": {"principal": "ada", "kind": "human", "roles": ["operator", "submitter"]}}
SIGNER: dict[str, object] = {"signing-key": "decider"}


def made(rule: dict[str, object]) -> str:
    return make_values({"value": rule}, {}, NOW, "ns/name")["value"]


def of(*pairs: tuple[dict[str, object], str]) -> PublicHalves:
    found = PublicHalves()
    for rule, value in pairs:
        found.take(rule, value, NOW, "ns/name")
    return found


def test_a_server_that_reads_it_recognises_the_key_and_no_other(tmp_path: Path) -> None:
    token = made(ADA)
    text = of((ADA, token)).document("verifiers", None, "ns/map")
    assert text is not None
    assert token.split("_", 2)[2] not in text
    path = tmp_path / "server-keys.json"
    path.write_text(text)
    path.chmod(0o644)
    known = KeyVerifiers.load(path)
    assert known.authenticate(token).roles == (PrincipalRole.OPERATOR, PrincipalRole.SUBMITTER)
    with pytest.raises(Unauthenticated):
        known.authenticate(Credential.mint().token)


def test_principals_are_added_to_and_verifiers_left_to_the_control_plane() -> None:
    first, second = made(ADA), made(ADA)
    before = of((ADA, first)).document("principals", None, "ns/map")
    both = of((ADA, first), (ADA, second))
    after = both.document("principals", before, "ns/map")
    assert after is not None
    assert [key["key_id"] for key in json.loads(after)["keys"]] == [token.split("_")[1] for token in (first, second)]
    assert both.document("principals", after, "ns/map") is None
    # a key that was revoked is no longer in it, and must not come back
    assert both.document("verifiers", before, "ns/map") is None


def test_a_trust_policy_is_made_once_and_another_key_is_a_persons_decision() -> None:
    key = made(SIGNER)
    policy = of((SIGNER, key)).document("trust", None, "ns/map")
    assert policy is not None
    assert "PRIVATE" not in policy
    assert of((SIGNER, key)).document("trust", policy, "ns/map") is None
    with pytest.raises(Conflict, match="does not trust"):
        of((SIGNER, made(SIGNER))).document("trust", policy, "ns/map")


@pytest.mark.parametrize("holds", ["trust", "principals"])
def test_what_holds_something_else_is_named(holds: str) -> None:
    with pytest.raises(Malformed, match="ns/map holds no"):
        of((ADA, made(ADA)), (SIGNER, made(SIGNER))).document(holds, "{}x", "ns/map")  # type: ignore[arg-type]  # both are known


def test_a_value_that_is_no_key_and_a_role_that_is_none_are_named() -> None:
    with pytest.raises(Malformed, match="ns/name holds no key"):
        of((ADA, "changed by hand"))
    with pytest.raises(BadInput, match="roles"):
        of(({"api-key": {"principal": "ada", "kind": "human", "roles": ["king"]}}, made(ADA)))
