"""A version's folder as registration leaves it, with keys and a trust policy of its own."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from maestro.clients.database import Database
from maestro.core.manifest import VersionManifest
from maestro.core.statement import AdmissionPredicate, ApprovalRef, TrustPolicy
from maestro.security.artifact import measure
from maestro.security.quarantine import MANIFEST
from maestro.security.signing import PrivateKey
from maestro.security.statements import (
    PROMOTION_FILE,
    promotion,
    provenance,
    write_envelope,
)
from maestro.security.trust import add_key
from tests.security.audit_chain import Chain
from tests.security.vault_server import vault_server  # noqa: F401 - a fixture

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
DIGEST = "sha256:" + "a" * 64


@dataclass(frozen=True)
class Keys:
    builder: PrivateKey
    decider: PrivateKey
    policy: TrustPolicy


@dataclass(frozen=True)
class Version:
    folder: Path
    manifest: VersionManifest

    @property
    def digest(self) -> str:
        return self.manifest.content_digest()


def predicate(**changes: object) -> AdmissionPredicate:
    fields: dict[str, object] = {
        "decision": DIGEST,
        "environment": "laptop",
        "policy": "sha256:" + "b" * 64,
        "approvals": (ApprovalRef(id="1", principal="human:ada", digest=DIGEST),),
        "issued": NOW,
        "expires": NOW + timedelta(days=30),
    }
    return AdmissionPredicate.model_validate(fields | changes)


@pytest.fixture
def keys() -> Keys:
    builder, decider = PrivateKey.generate(), PrivateKey.generate()
    policy = add_key(TrustPolicy(), builder.public_pem, "builder", not_before=NOW - timedelta(days=1))
    policy = add_key(policy, decider.public_pem, "decider", not_before=NOW - timedelta(days=1))
    return Keys(builder, decider, policy)


def write_version(folder: Path, files: dict[str, bytes]) -> Version:
    for path, content in files.items():
        target = folder / "files" / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
    manifest = measure(folder, model="churn", version="1.2.0", run_id="r1")
    (folder / MANIFEST).write_text(manifest.model_dump_json(by_alias=True, exclude_none=True))
    return Version(folder, manifest)


@pytest.fixture
def version(tmp_path: Path) -> Version:
    return write_version(
        tmp_path / "versions" / "churn" / "1.2.0",
        {"MLmodel": b"flavors: {}\n", "model.onnx": bytes(range(256)) * 100, "code/model.py": b"raise SystemExit\n"},
    )


@pytest.fixture
def promoted(version: Version, keys: Keys) -> Version:
    built = provenance(
        version.manifest,
        run_id="r1",
        job_id="j1",
        builder="service:worker",
        code="0.1.0",
        materials={"data/train.parquet": DIGEST},
        at=NOW,
    )
    write_envelope(version.folder, "provenance.json", keys.builder.sign(built))
    write_envelope(version.folder, PROMOTION_FILE, keys.decider.sign(promotion(version.manifest, predicate())))
    return version


@pytest.fixture
def chain(database: Database, tmp_path: Path) -> Chain:
    """An audit log on each kind of database."""
    return Chain(database, tmp_path)
