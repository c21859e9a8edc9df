"""Values of secrets: made by their rules, kept where they are, never the same twice."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from maestro.core.errors import Malformed
from maestro.operations.platform.values import make_values
from maestro.security.credential import Credential

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def test_what_is_missing_is_made_and_what_is_there_stays() -> None:
    rules: dict[str, dict[str, object]] = {
        "a": {"random": 24},
        "b": {"random": 24},
        "url": {"template": "x:{a}@{b}"},
        "key": {"fernet": True},
    }
    made = make_values(rules, {"a": "kept"}, NOW, "ns/name")
    assert made["a"] == "kept"
    assert len(made["b"]) == 24
    assert made["b"].isalnum()
    assert made["url"] == f"x:kept@{made['b']}"
    assert make_values(rules, {}, NOW, "ns/name")["b"] != made["b"]


def test_a_certificate_is_one_pair_and_its_authority() -> None:
    rule: dict[str, object] = {"tls": ["vault.vault.svc", "localhost"]}
    made = make_values({"tls.crt": rule, "tls.key": rule, "ca.crt": rule}, {}, NOW, "ns/name")
    assert made["tls.crt"].startswith("-----BEGIN CERTIFICATE")
    assert "PRIVATE KEY" in made["tls.key"]
    assert made["ca.crt"] != made["tls.crt"]


def test_a_signing_key_is_one() -> None:
    made = make_values({"decider.pem": {"signing-key": "decider"}}, {}, NOW, "ns/name")
    assert "PRIVATE KEY" in made["decider.pem"]


def test_an_api_key_is_one_that_the_platform_recognises() -> None:
    rule: dict[str, object] = {"api-key": {"principal": "ada", "kind": "human", "roles": ["operator"]}}
    made = make_values({"token": rule}, {}, NOW, "ns/name")
    assert Credential.parse(made["token"]).token == made["token"]


@pytest.mark.parametrize(
    ("rules", "named"),
    [
        ({"a": {"guess": 3}}, "key a"),
        ({"a": {"api-key": {"principal": "ada", "kind": "system"}}}, "no known way"),
        ({"a": {"template": "{b}"}}, "'b'"),
        ({"a": {"tls": ["x"]}}, "no part of a certificate"),
        ({"a": {"random": "many"}}, "no known way"),
    ],
)
def test_a_rule_that_is_not_known_is_named(rules: dict[str, dict[str, object]], named: str) -> None:
    with pytest.raises(Malformed, match=named):
        make_values(rules, {}, NOW, "ns/name")
