"""The two signing keys under `$MAESTRO_HOME/keys` and their places in the trust policy: made once, rotated, taken back."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Literal

from maestro.core.errors import Conflict
from maestro.core.statement import TrustPolicy
from maestro.security.signing import PrivateKey
from maestro.security.trust import add_key, load_trust, may_sign, retire_key, revoke_key, save_trust

SigningRole = Literal["builder", "decider"]
SIGNING_ROLES: tuple[SigningRole, ...] = ("builder", "decider")


def key_path(keys_dir: Path, role: SigningRole) -> Path:
    """Where the private key of a role lies."""
    return keys_dir / f"{role}.pem"


def ensure_keys(keys_dir: Path, trust_path: Path, at: datetime) -> TrustPolicy:
    """Make what is missing of both keys, and trust each; a second call changes nothing.

    Raises:
        Conflict: a key lies there that the trust policy does not trust: it must be decided by a person.
        Refused: a key's file may be read by others.
    """
    policy = load_trust(trust_path) if trust_path.exists() else TrustPolicy()
    changed = not trust_path.exists()
    for role in SIGNING_ROLES:
        path = key_path(keys_dir, role)
        if path.exists():
            if not may_sign(policy, PrivateKey.load(path).keyid, role, at):
                raise Conflict(
                    f"the key {path} is not the trusted {role} key",
                    remedy=f"restore {trust_path}, or run `maestro keys rotate-signing {role}`",
                )
            continue
        keys_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        key = PrivateKey.generate()
        # The policy is saved first: a key that nobody trusts is useless, a trusted key that was never written signs nothing.
        policy = add_key(policy, key.public_pem, role, not_before=at)
        save_trust(trust_path, policy)
        key.save(path)
        changed = False
    if changed:
        save_trust(trust_path, policy)
    return policy


def rotate_key(
    keys_dir: Path, trust_path: Path, role: SigningRole, at: datetime, *, compromised: bool = False
) -> PrivateKey:
    """Replace the key of a role by a new one and destroy the old.

    What the old key signed before `at` stays good, unless it is `compromised`: then none of it is accepted any more, and every version
    that should keep its traffic needs new statements.
    """
    policy = load_trust(trust_path)
    old = [key.keyid for key in policy.keys if key.role == role and key.revoked is None]
    key = PrivateKey.generate()
    policy = add_key(policy, key.public_pem, role, not_before=at)
    save_trust(trust_path, policy)
    key.save(key_path(keys_dir, role), replace=True)
    for identity in old:
        policy = revoke_key(policy, identity, at) if compromised else retire_key(policy, identity, at)
    save_trust(trust_path, policy)
    return key
