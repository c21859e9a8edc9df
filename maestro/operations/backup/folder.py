"""What a backup is: a folder `<time>` with `manifest.json`, `databases/` and `files/`. A folder without manifest is none: it was not finished."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError

from maestro.core.errors import Malformed, NegativeVerdict, NotFound
from maestro.core.manifest import FileEntry
from maestro.core.model import Model, Time

MANIFEST = "manifest.json"
FORMAT = "%Y%m%dT%H%M%S%fZ"
"""Names of backups: they sort by time."""


class DatabaseEntry(Model):
    """One database: what it was dumped to, the schema's revision, and the rows of each table in the same snapshot.

    `rows` is empty where the dump was made elsewhere.
    """

    name: str
    kind: Literal["sqlite", "postgresql"]
    file: FileEntry
    revision: str | None = None
    rows: dict[str, int] = {}


class BackupManifest(Model):
    """What a backup holds. `at` is the instant of the platform database's snapshot: what was committed before it is in the backup."""

    schema_: Literal["maestro.backup/1"] = Field(default="maestro.backup/1", alias="schema")
    at: Time
    took_s: float
    version: str
    databases: tuple[DatabaseEntry, ...]
    files: tuple[FileEntry, ...]

    @property
    def bytes(self) -> int:
        """Its size."""
        return sum(entry.size for entry in (*self.files, *(one.file for one in self.databases)))


def read_manifest(folder: Path) -> BackupManifest:
    """The manifest of one backup.

    Raises:
        NotFound: the folder is no backup.
        Malformed: its manifest cannot be read.
    """
    try:
        return BackupManifest.model_validate_json((folder / MANIFEST).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise NotFound(
            f"{folder} holds no backup", field="--from", remedy="list the backups: maestro backup list --to FOLDER"
        ) from None
    except (ValidationError, UnicodeDecodeError):
        raise Malformed(f"{folder / MANIFEST} cannot be read", field="--from", remedy="take another backup") from None


def write_manifest(folder: Path, manifest: BackupManifest) -> None:
    """Write it last: with it the folder is a backup."""
    (folder / MANIFEST).write_text(json.dumps(manifest.document(), indent=1) + "\n", encoding="utf-8")


def backups(root: Path) -> list[Path]:
    """The backups below `root`, oldest first."""
    return sorted(path.parent for path in root.glob(f"*/{MANIFEST}") if not path.parent.name.startswith("."))


def latest(root: Path) -> Path:
    """The newest backup below `root`, or `root` itself when it is one.

    Raises:
        NotFound: there is none.
    """
    if (root / MANIFEST).is_file():
        return root
    found = backups(root)
    if not found:
        raise NotFound(
            f"there is no backup in {root}", field="--from", remedy="make one: maestro backup create --to FOLDER"
        )
    return found[-1]


def measure(root: Path, path: Path) -> FileEntry:
    """A file below `root` with size and digest."""
    digest = hashlib.sha256()
    size = 0
    with path.open("rb") as handle:
        while block := handle.read(2**20):
            digest.update(block)
            size += len(block)
    return FileEntry(path=path.relative_to(root).as_posix(), size=size, digest=f"sha256:{digest.hexdigest()}")


def verify_backup(folder: Path) -> BackupManifest:
    """Check that every file of a backup is there and unchanged, and that nothing else is.

    Raises:
        NotFound: the folder is no backup.
        NegativeVerdict: a file is missing, changed or not in the manifest; the first ones are named.
    """
    manifest = read_manifest(folder)
    entries = {entry.path: entry for entry in (*manifest.files, *(one.file for one in manifest.databases))}
    there = {
        path.relative_to(folder).as_posix(): path
        for path in folder.rglob("*")
        if (path.is_file() and path != folder / MANIFEST) or path.is_symlink()
    }
    wrong = [f"{path} is missing" for path in sorted(entries.keys() - there.keys())]
    wrong += [f"{path} is in no manifest" for path in sorted(there.keys() - entries.keys())]
    for path in sorted(entries.keys() & there.keys()):
        if there[path].is_symlink() or measure(folder, there[path]) != entries[path]:
            wrong.append(f"{path} was changed")
    if wrong:
        more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        raise NegativeVerdict(
            f"the backup {folder.name} is not whole: {'; '.join(wrong[:3])}{more}",
            remedy="take another backup; keep this one until it is clear who changed it",
        )
    return manifest
