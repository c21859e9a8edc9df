"""How a secret's value is made by its rule in infrastructure/secrets.yaml. Values leave here for the API server alone."""

from __future__ import annotations

import base64
import secrets as random_source
import string
import tempfile
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from maestro.core.errors import Malformed
from maestro.security.certificate import Certified, certify
from maestro.security.credential import Credential
from maestro.security.signing import PrivateKey

_LETTERS = string.ascii_letters + string.digits


def make_values(
    rules: Mapping[str, Mapping[str, Any]], there: Mapping[str, str], at: datetime, where: str
) -> dict[str, str]:
    """The value of every key: those that are there, the others made by their rules; templates last.

    Raises:
        Malformed: a rule is not known; the key is named.
    """
    values, certified = dict(there), None
    for key, rule in rules.items():
        if key in values or "template" in rule:
            continue
        match dict(rule):
            case {"random": int(length)}:
                values[key] = "".join(random_source.choice(_LETTERS) for _ in range(length))
            case {"fernet": True}:
                values[key] = base64.urlsafe_b64encode(random_source.token_bytes(32)).decode()
            case {"signing-key": "builder" | "decider"}:
                values[key] = _signing_key()
            case {"api-key": {"principal": str(), "kind": "human" | "service" | "agent"}}:
                values[key] = Credential.mint().token
            case {"tls": list(names)}:
                certified = certified or certify(names, at)
                values[key] = _part(certified, key, where)
            case _:
                raise Malformed(
                    f"secret {where}, key {key}: no known way to make it",
                    field=f"secrets.{where}.{key}",
                    remedy="known: random, fernet, signing-key, api-key, tls, template",
                )
    for key, rule in rules.items():
        if key not in values:
            try:
                values[key] = str(rule["template"]).format(**values)
            except (KeyError, ValueError, IndexError) as error:
                raise Malformed(
                    f"secret {where}, key {key}: template names {error}", remedy="name a key of the same secret"
                ) from None
    return values


def _part(certified: Certified, key: str, where: str) -> str:
    parts = {"tls.crt": certified.certificate, "tls.key": certified.key, "ca.crt": certified.authority}
    if key not in parts:
        raise Malformed(f"secret {where}: {key} is no part of a certificate", remedy="tls.crt, tls.key, ca.crt")
    return parts[key]


def _signing_key() -> str:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "key.pem"
        PrivateKey.generate().save(path)
        return path.read_text()
