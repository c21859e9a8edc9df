"""The trust policy: which public keys may sign what, and from when to when. Rotation retires a key, revocation takes back all it signed."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path

from pydantic import ValidationError

from maestro.core.errors import Conflict, Malformed, NotFound, Untrusted, from_validation
from maestro.core.statement import Role, TrustedKey, TrustPolicy
from maestro.security.private_file import decode_text, read_guarded, write_atomically
from maestro.security.signing import keyid, load_public_key


def load_trust(path: Path) -> TrustPolicy:
    """Read the trust policy.

    Raises:
        Untrusted: there is none, or others than its owner may write it.
        BadInput: a field is wrong; it is named.
    """
    what = f"trust policy {path}"
    try:
        content = read_guarded(path, "trust policy")
    except NotFound:
        raise Untrusted(
            f"{what} does not exist", remedy="run `make up`, or set MAESTRO_TRUST_POLICY to the policy's path"
        ) from None
    try:
        policy = TrustPolicy.model_validate(json.loads(decode_text(content, what)))
    except ValidationError as error:
        raise from_validation(error, what) from None
    except (ValueError, RecursionError):
        raise Malformed(f"{what} is not JSON", remedy="restore it from its source") from None
    _check(policy, what)
    return policy


def save_trust(path: Path, policy: TrustPolicy) -> None:
    """Replace the trust policy, atomically; readable by all, writable by its owner.

    Raises:
        Malformed: a key's id is not that of its bytes, or a key stands twice.
        Unreachable: the file cannot be written.
    """
    _check(policy, f"trust policy {path}")
    text = json.dumps(policy.document(), indent=2) + "\n"
    write_atomically(path, text.encode(), mode=0o644)


def add_key(
    policy: TrustPolicy, public_pem: str, role: Role, *, not_before: datetime, not_after: datetime | None = None
) -> TrustPolicy:
    """The policy with one more key.

    Raises:
        Conflict: the key is there already; one key has one role.
        Malformed: it is no Ed25519 public key in PEM.
    """
    identity = keyid(load_public_key(public_pem))
    if any(key.keyid == identity for key in policy.keys):
        raise Conflict(f"key {identity[:12]} is in the trust policy already", remedy="generate a key for each role")
    key = TrustedKey(
        keyid=identity, role=role, public_key=public_pem, not_before=not_before, not_after=not_after, revoked=None
    )
    return TrustPolicy(keys=(*policy.keys, key))


def retire_key(policy: TrustPolicy, identity: str, at: datetime) -> TrustPolicy:
    """The policy in which a key signs nothing after `at`; what it signed before stays good. For rotation."""
    key = _find(policy, identity)
    until = at if key.not_after is None else min(at, key.not_after)
    return _replaced(policy, key.model_copy(update={"not_after": until}))


def revoke_key(policy: TrustPolicy, identity: str, at: datetime) -> TrustPolicy:
    """The policy in which, from `at` on, nothing a key ever signed is accepted. For a key that was or may be stolen.

    An earlier revocation stays as it is.
    """
    key = _find(policy, identity)
    since = at if key.revoked is None else min(at, key.revoked)
    return _replaced(policy, key.model_copy(update={"revoked": since}))


def may_sign(policy: TrustPolicy, identity: str, role: Role, at: datetime) -> bool:
    """Whether what the key signs at `at` as `role` would be accepted at `at`."""
    return any(
        key.keyid == identity
        and key.role == role
        and key.not_before <= at
        and (key.not_after is None or at <= key.not_after)
        and (key.revoked is None or at < key.revoked)
        for key in policy.keys
    )


def _find(policy: TrustPolicy, identity: str) -> TrustedKey:
    found = [key for key in policy.keys if key.keyid.startswith(identity)] if len(identity) >= 8 else []
    if len(found) != 1:
        raise NotFound(
            f"no single key {identity!r} in the trust policy",
            field="keyid",
            remedy="give the key's id, or at least 8 of its first digits (maestro keys list)",
        )
    return found[0]


def _replaced(policy: TrustPolicy, changed: TrustedKey) -> TrustPolicy:
    return TrustPolicy(keys=tuple(changed if key.keyid == changed.keyid else key for key in policy.keys))


def _check(policy: TrustPolicy, what: str) -> None:
    seen: set[str] = set()
    for index, key in enumerate(policy.keys):
        if keyid(load_public_key(key.public_key)) != key.keyid:
            raise Malformed(f"{what}: keys.{index}.keyid is not that of its public_key", field=f"keys.{index}.keyid")
        if key.keyid in seen:
            raise Malformed(f"{what}: key {key.keyid[:12]} stands twice", field=f"keys.{index}.keyid")
        seen.add(key.keyid)
