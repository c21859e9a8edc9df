"""The version folder: staged, measured, signed, then put in place by one rename. It is the durable claim of a version's number."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from pydantic import ValidationError

from maestro.core.contract import ModelContract
from maestro.core.errors import BadInput, Conflict, Malformed, NotFound, from_validation
from maestro.core.manifest import VersionManifest
from maestro.core.versions import parse_version
from maestro.security.artifact import FILES, measure
from maestro.security.private_file import write_atomically
from maestro.security.quarantine import MANIFEST, read_manifest
from maestro.security.signing import PrivateKey
from maestro.security.statements import provenance, write_envelope

CONTRACT = "contract.json"


class VersionFolders:
    """The folders of one model below `$MAESTRO_HOME/versions`."""

    def __init__(self, root: Path, model: str) -> None:
        self.model = model
        self.root = root / model

    @contextmanager
    def locked(self) -> Iterator[None]:
        """One registration of the model at a time on this machine; the lock goes with its holder."""
        self.root.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self.root / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def staging(self, run_id: str) -> Path:
        """An own place for one registration; what an interrupted one left there is cleared."""
        path = self.root / f".staging-{run_id}"
        shutil.rmtree(path, ignore_errors=True)
        path.mkdir(parents=True)
        return path

    def claimed(self) -> Iterator[tuple[str, VersionManifest]]:
        """Every version in place with its manifest."""
        if not self.root.is_dir():
            return
        for path in sorted(self.root.iterdir()):
            if path.is_dir() and not path.name.startswith(".") and (path / MANIFEST).is_file():
                try:
                    parse_version(path.name)
                except BadInput:
                    continue
                yield path.name, read_manifest(path)

    def place(
        self, staging: Path, version: str, *, run_id: str, job_id: str, builder: PrivateKey, built_by: str, code: str,
        materials: dict[str, str], at: datetime,
    ) -> VersionManifest:  # fmt: skip
        """Write manifest and provenance, then claim the version's number.

        Raises:
            Conflict: somebody claimed that number first.
        """
        manifest = measure(staging, model=self.model, version=version, run_id=run_id)
        write_atomically(staging / MANIFEST, (json.dumps(manifest.document(), indent=2) + "\n").encode(), mode=0o644)
        statement = provenance(
            manifest, run_id=run_id, job_id=job_id, builder=built_by, code=code, materials=materials, at=at
        )
        write_envelope(staging, "provenance.json", builder.sign(statement))
        for path in staging.rglob("*"):
            if path.is_file():
                _sync(path)
        try:
            # a folder that is not empty is never replaced by a rename
            os.rename(staging, self.root / version)
        except OSError as error:
            if (self.root / version).exists():
                raise Conflict(f"{self.model}@{version} was claimed by another registration") from error
            raise
        _sync(self.root)
        return manifest

    def path(self, version: str) -> Path:
        """Where a version lies."""
        return self.root / version


def read_contract(version_dir: Path) -> ModelContract:
    """The contract among a version's files.

    Raises:
        NotFound: there is none.
        BadInput: a field is wrong; it is named.
    """
    path = version_dir / FILES / CONTRACT
    try:
        document = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise NotFound(
            "the model holds no contract.json", field="contract", remedy="log contract.json with the model's files"
        ) from None
    except (ValueError, RecursionError):
        raise Malformed("contract.json is not JSON", field="contract", remedy="log the model again") from None
    try:
        return ModelContract.model_validate(document)
    except ValidationError as error:
        raise from_validation(error, "contract.json") from None


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
