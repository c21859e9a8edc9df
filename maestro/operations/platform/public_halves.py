"""What is public of the platform's secrets: the trust policy of its signing keys, and the verifiers by which its first principals are recognised."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from maestro.core.errors import BadInput, Conflict, Malformed, Unauthenticated, from_validation
from maestro.core.principals import Principal
from maestro.core.statement import TrustPolicy
from maestro.security.credential import Credential, KeyVerifier
from maestro.security.signing import PrivateKey
from maestro.security.trust import add_key
from maestro.security.verifiers import VerifierFile

Holds = Literal["trust", "principals", "verifiers"]
"""`trust`: public signing keys by role. `principals`: who the secrets' API keys belong to, added to by every run. `verifiers`: the same at the start; from then on
the control plane keeps it, so that what it revoked is not let in again."""


@dataclass
class PublicHalves:
    """Collected secret by secret; holds nothing that signs or logs in."""

    trust: TrustPolicy = field(default_factory=TrustPolicy)
    principals: list[KeyVerifier] = field(default_factory=list)

    def take(self, rule: Mapping[str, Any], value: str, at: datetime, where: str) -> None:
        """Add what one value lets others verify.

        Raises:
            BadInput: the role or the principal of the rule is none.
            Malformed: the value is no key.
        """
        if "signing-key" in rule:
            self.trust = _trusted(self.trust, value, str(rule["signing-key"]), at)
        elif "api-key" in rule:
            self.principals.append(_verifier(rule["api-key"], value, where))

    def document(self, holds: Holds, before: str | None, where: str) -> str | None:
        """What a ConfigMap is to hold, or None when what it holds may stay.

        Args:
            holds: what it is for.
            before: what it holds now.
            where: how errors name it.

        Raises:
            Malformed: it holds something else.
            Conflict: it does not trust a signing key of the cluster's secrets.
        """
        match holds:
            case "trust":
                return self._trust(before, where)
            case "principals":
                return self._principals(before, where)
            case "verifiers":
                return None if before is not None else self._principals(None, where)

    def _trust(self, before: str | None, where: str) -> str | None:
        if before is None:
            return json.dumps(self.trust.document(), indent=2) + "\n"
        try:
            trusted = {key["keyid"] for key in json.loads(before)["keys"]}
        except (KeyError, ValueError, TypeError):
            raise _no_document(where, "trust policy") from None
        strange = [key.keyid for key in self.trust.keys if key.keyid not in trusted]
        if strange:
            raise Conflict(
                f"ConfigMap {where} does not trust the signing key {strange[0]} of the cluster's secret",
                remedy="add the key to the policy by hand (maestro keys), or restore the secret: it is a person's decision",
            )
        return None

    def _principals(self, before: str | None, where: str) -> str | None:
        try:
            known = VerifierFile() if before is None else VerifierFile.model_validate_json(before)
        except ValidationError:
            raise _no_document(where, "list of principals") from None
        there = {key.key_id for key in known.keys}
        added = tuple(key for key in self.principals if key.key_id not in there)
        if before is not None and not added:
            return None
        return json.dumps(VerifierFile(keys=(*known.keys, *added)).document(), indent=2) + "\n"


def _trusted(policy: TrustPolicy, pem: str, role: str, at: datetime) -> TrustPolicy:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "key.pem"
        path.touch(mode=0o600)
        path.write_text(pem)
        public = PrivateKey.load(path).public_pem
    if role not in {"builder", "decider"}:
        raise BadInput(f"signing-key {role}", field="signing-key", remedy="builder or decider")
    return add_key(policy, public, role, not_before=at)  # type: ignore[arg-type]  # checked one line above


def _verifier(rule: Mapping[str, Any], token: str, where: str) -> KeyVerifier:
    try:
        principal = Principal.model_validate(
            {"name": rule["principal"], "kind": rule["kind"], "roles": rule.get("roles") or ()}
        )
        credential = Credential.parse(token.strip())
    except ValidationError as error:
        raise from_validation(error, f"secret {where}") from None
    except Unauthenticated:
        raise Malformed(
            f"secret {where} holds no key of the platform",
            remedy=f"delete it (kubectl delete secret -n {where.replace('/', ' ')}) and run maestro platform secrets again",
        ) from None
    return KeyVerifier(key_id=credential.key_id, secret_hash=credential.secret_hash, principal=principal)


def _no_document(where: str, what: str) -> Malformed:
    return Malformed(f"ConfigMap {where} holds no {what}", remedy="restore it, or delete it and run this again")
