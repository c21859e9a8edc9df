"""The plan of a version: which fast paths answer as its original does, what each costs, and the bytes that they are made of.

Plans lie in storage that only the server writes, a folder a version (`$MAESTRO_HOME/plans/<digest>/`, mode 0700): `plan.json` and its files. A plan
for another digest, for other versions of the libraries or the machine, or whose bytes are not those that it names, does not exist.
"""

from __future__ import annotations

import hashlib
import os
import platform
import stat
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError

import maestro
from maestro.core.canonical import digest_bytes
from maestro.core.manifest import FileEntry
from maestro.core.model import Digest, Model, Time

PLAN = "plan.json"
PathName = Literal["onnx", "trees"]
MAX_BYTES = 2 * 2**30


class ProvenPath(Model):
    """A way to answer that gave the original's answers.

    Args:
        origin: where its bytes come from, such as `package` or the variant of the conversion.
        labels: where a class comes from (ONNX only).
        us: microseconds of a batch by rows.
        largest_difference: of a score, or relative of a number, over all rows of the proof.
        tied_labels: rows whose class differs where the original's own two highest scores are within twice the tolerance.
    """

    name: PathName
    origin: str
    labels: Literal["graph", "scores"] = "graph"
    files: tuple[FileEntry, ...]
    us: dict[int, float]
    largest_difference: float
    tied_labels: int = 0


class RefusedPath(Model):
    """A candidate that is not used, and why."""

    name: str
    reason: str


class Proof(Model):
    """The rows on which every path was held against the original."""

    tolerance: float
    rows: int
    example_rows: int
    random_rows: int
    boundary_rows: int
    seed: int


class OriginalModel(Model):
    """What was logged: its class, and microseconds of a batch by rows, inside its own process."""

    kind: str
    us: dict[int, float]


class Choice(Model):
    """From so many rows on, this path answers."""

    rows: int = Field(ge=1)
    path: PathName


class Plan(Model):
    """What was proven about one version on one kind of machine. No choice means that the original answers."""

    schema_: Literal["maestro.plan/1"] = Field(default="maestro.plan/1", alias="schema")
    digest: Digest
    versions: dict[str, str]
    prepared: Time
    seconds: float
    original: OriginalModel
    proof: Proof
    paths: tuple[ProvenPath, ...] = ()
    choices: tuple[Choice, ...] = ()
    refused: tuple[RefusedPath, ...] = ()

    def path(self, name: str) -> ProvenPath:
        """A proven path by name."""
        return next(path for path in self.paths if path.name == name)

    @property
    def why(self) -> str:
        """What answers and why, in one sentence."""
        if self.choices:
            chosen = ", ".join(f"{choice.path} from {choice.rows} rows" for choice in self.choices)
            return f"{chosen}: the original's answers on {self.proof.rows} rows"
        reasons = "; ".join(f"{refused.name}: {refused.reason}" for refused in self.refused) or "no candidate"
        return f"the original answers: {reasons}"


_FOREST = hashlib.sha256(Path(__file__).with_name("forest.c").read_bytes()).hexdigest()[:16]
"""Of the program as it was when this process began: one that outlives an upgrade must not take up what the new program is for."""


def runtime_versions() -> dict[str, str]:
    """What a plan depends on beside the model."""
    found = {
        "maestro": maestro.__version__,
        "machine": platform.machine(),
        "libc": "-".join(platform.libc_ver()),
        "forest": _FOREST,
    }
    for name in ("numpy", "onnxruntime"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "absent"
    return found


class PlanStore:
    """The folder of plans."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def folder(self, digest: str) -> Path:
        """Where the plan of a version lies."""
        return self.root / digest.removeprefix("sha256:")

    def find(self, digest: str) -> tuple[Plan, Path] | None:
        """The plan of a version and its folder; None when there is none that holds here and now."""
        folder = self.folder(digest)
        try:
            if not _is_ours(folder) or not _is_ours(self.root):
                return None
            plan = Plan.model_validate_json((folder / PLAN).read_bytes())
        except (OSError, ValidationError):
            return None
        if plan.digest != digest or plan.versions != runtime_versions():
            return None
        used = {choice.path for choice in plan.choices}
        if not used <= {path.name for path in plan.paths}:
            return None
        for path in plan.paths:
            if path.name in used and not all(_is_intact(folder, entry) for entry in path.files):
                return None
        return plan, folder


def measured(folder: Path, *names: str) -> tuple[FileEntry, ...]:
    """The entries of files in a folder."""
    found = []
    for name in names:
        content = (folder / name).read_bytes()
        found.append(FileEntry(path=name, size=len(content), digest=digest_bytes(content)))
    return tuple(found)


def _is_ours(folder: Path) -> bool:
    status = os.lstat(folder)
    return stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid() and not status.st_mode & 0o077


def _is_intact(folder: Path, entry: FileEntry) -> bool:
    path = folder / entry.path
    if "/" in entry.path or entry.size > MAX_BYTES or path.is_symlink():
        return False
    try:
        content = path.read_bytes()
    except OSError:
        return False
    return len(content) == entry.size and digest_bytes(content) == entry.digest
