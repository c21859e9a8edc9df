"""Secrets of the platform: what infrastructure/secrets.yaml lists and the cluster lacks is made, at random, and never shown."""

from __future__ import annotations

import base64
import json
import secrets as random_source
import string
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from maestro.clients.kubernetes import Cluster
from maestro.core.errors import BadInput, Conflict, Malformed, NotFound
from maestro.core.statement import TrustPolicy
from maestro.operations.platform.layout import Layout
from maestro.operations.platform.reading import FIELD_MANAGER, find
from maestro.operations.platform.rendering import OWNER, OWNER_LABEL
from maestro.security.certificate import Certified, certify
from maestro.security.signing import PrivateKey
from maestro.security.trust import add_key

_LETTERS = string.ascii_letters + string.digits
LABELS = {
    OWNER_LABEL: OWNER,
    "app.kubernetes.io/part-of": "maestro-ml",
    "app.kubernetes.io/component": "secrets",
}


@dataclass(frozen=True)
class Made:
    """What was done about one secret or derived ConfigMap; never a value."""

    object: str
    action: Literal["created", "completed", "kept"]
    keys: tuple[str, ...]


def ensure_secrets(cluster: Cluster, layout: Layout, at: datetime) -> list[Made]:
    """Create what is missing. A value that exists is never changed; a key that a later version adds is added.

    Raises:
        NotFound: a namespace is missing.
        Malformed: secrets.yaml names no known way to make a key.
        Conflict: the trust policy in the cluster trusts another key than the secret holds.
    """
    listed = layout.secrets()
    made, public = [], TrustPolicy()
    for entry in listed.get("secrets", []):
        where = f"{entry['namespace']}/{entry['name']}"
        if find(cluster, "v1", "Namespace", entry["namespace"]) is None:
            raise NotFound(
                f"namespace {entry['namespace']} is not there",
                remedy="first: kubectl apply -f infrastructure/kubernetes/namespaces.yaml",
            )
        before = find(cluster, "v1", "Secret", entry["name"], entry["namespace"])
        there = {key: base64.b64decode(value).decode() for key, value in ((before or {}).get("data") or {}).items()}
        wanted = [key for key in entry["keys"] if key not in there]
        if wanted:
            values = make_values(entry["keys"], there, at, where)
            _write(cluster, entry, {key: values[key] for key in wanted}, before)
            there |= values
        made.append(
            Made(f"Secret {where}", "created" if before is None else "completed" if wanted else "kept", tuple(wanted))
        )
        for key, rule in entry["keys"].items():
            if "signing-key" in rule:
                public = _trust(public, there[key], rule["signing-key"], at)
    return made + [_publish(cluster, entry, public) for entry in listed.get("public", [])]


def missing_secrets(cluster: Cluster, layout: Layout) -> list[str]:
    """The secrets that `ensure_secrets` would create or complete."""
    found = []
    for entry in layout.secrets().get("secrets", []):
        there = (find(cluster, "v1", "Secret", entry["name"], entry["namespace"]) or {}).get("data") or {}
        if set(entry["keys"]) - set(there):
            found.append(f"{entry['namespace']}/{entry['name']}")
    return found


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
            case {"tls": list(names)}:
                certified = certified or certify(names, at)
                values[key] = _part(certified, key, where)
            case _:
                raise Malformed(
                    f"secret {where}, key {key}: no known way to make it",
                    field=f"secrets.{where}.{key}",
                    remedy="known: random, fernet, signing-key, tls, template",
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


def _trust(policy: TrustPolicy, pem: str, role: str, at: datetime) -> TrustPolicy:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "key.pem"
        path.touch(mode=0o600)
        path.write_text(pem)
        public = PrivateKey.load(path).public_pem
    if role not in {"builder", "decider"}:
        raise BadInput(f"signing-key {role}", field="signing-key", remedy="builder or decider")
    return add_key(policy, public, role, not_before=at)  # type: ignore[arg-type]  # checked one line above


def _write(cluster: Cluster, entry: Mapping[str, Any], values: Mapping[str, str], before: Any) -> None:
    labels = LABELS | {"app.kubernetes.io/name": entry["name"]}
    metadata = {"name": entry["name"], "namespace": entry["namespace"]}
    body: dict[str, Any] = {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": dict(values)}
    if before is None:
        body |= {"metadata": metadata | {"labels": labels}, "type": entry.get("type", "Opaque")}
        cluster.create(body)
    else:
        # only the missing keys are stated, so that nothing that is there changes its owner
        body["type"] = before.get("type", "Opaque")
        cluster.apply(body, manager=FIELD_MANAGER)


def _publish(cluster: Cluster, entry: Mapping[str, Any], policy: TrustPolicy) -> Made:
    where = f"{entry['namespace']}/{entry['name']}"
    before = find(cluster, "v1", "ConfigMap", entry["name"], entry["namespace"])
    if before is not None:
        try:
            trusted = {key["keyid"] for key in json.loads(before["data"][entry["key"]])["keys"]}
        except (KeyError, ValueError, TypeError):
            raise Malformed(
                f"ConfigMap {where} holds no trust policy", remedy="restore it, or delete it and run this again"
            ) from None
        strange = [key.keyid for key in policy.keys if key.keyid not in trusted]
        if strange:
            raise Conflict(
                f"ConfigMap {where} does not trust the signing key {strange[0]} of the cluster's secret",
                remedy="add the key to the policy by hand (maestro keys), or restore the secret: it is a person's decision",
            )
        return Made(f"ConfigMap {where}", "kept", ())
    labels = LABELS | {"app.kubernetes.io/name": entry["name"]}
    cluster.create(
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": entry["name"], "namespace": entry["namespace"], "labels": labels},
            "data": {entry["key"]: json.dumps(policy.document(), indent=2) + "\n"},
        }
    )
    return Made(f"ConfigMap {where}", "created", (entry["key"],))
