"""The folder of a job under way: what is to be done, and the parts that are done, each put in place by one rename.

`job.json` says what the job is; `part-N.parquet` are its answers, `part-N.json` the rows and digest of each. A part counts when both are there and agree,
so that a job that is killed at any moment goes on where it was, and every row is answered exactly once.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError

from maestro.core.errors import Conflict
from maestro.core.model import Digest, Model
from maestro.security.private_file import sync_folder, write_atomically
from maestro.serving.batch.source import Piece, Source, SourceFile

JOB = "job.json"
MERGED = "merged.json"


class BatchJob(Model):
    """What is answered by what; two jobs with the same digest have the same answers."""

    schema_: Literal["maestro.batch/1"] = Field(default="maestro.batch/1", alias="schema")
    version: Digest
    files: tuple[SourceFile, ...]
    pieces: tuple[Piece, ...]
    keep: tuple[str, ...] = ()
    scores: bool = False


class Part(Model):
    """One part that is done."""

    piece: int
    rows: int
    size: int
    digest: Digest
    out_of_range: dict[str, int] = Field(default_factory=dict)


class PartsFolder:
    """The folder of one job.

    Args:
        root: the folder.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    @contextmanager
    def held(self, share: str) -> Iterator[None]:
        """One process at a time works on a share of the job; the lock goes with its holder.

        Raises:
            Conflict: another does.
        """
        self.root.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self.root / f".lock-{share}", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield
        except BlockingIOError:
            raise Conflict(
                f"another process works on {self.root}", field="output", remedy="wait for it, or name another output"
            ) from None
        finally:
            os.close(descriptor)

    def begin(self, job: BatchJob) -> None:
        """Write down what the job is.

        Raises:
            Conflict: the folder holds another job's parts.
        """
        path = self.root / JOB
        if path.exists():
            try:
                found = BatchJob.model_validate_json(path.read_bytes()).content_digest()
            except ValidationError:
                found = None
            if found != job.content_digest():
                raise Conflict(
                    f"{self.root} holds parts of another job: the model, the input or the options have changed",
                    field="output",
                    remedy="begin anew with --overwrite, or name another output",
                )
            return
        write_atomically(path, json.dumps(job.document()).encode(), mode=0o644)

    def path(self, piece: int) -> Path:
        """Where the answers of a piece lie."""
        return self.root / f"part-{piece:06d}.parquet"

    def finish(self, temporary: Path, piece: int, rows: int, out_of_range: dict[str, int]) -> Part:
        """Put a written file in place as the answers of a piece."""
        digest, size = digest_of(temporary)
        _sync(temporary)
        temporary.replace(self.path(piece))
        sync_folder(self.root)
        part = Part(piece=piece, rows=rows, size=size, digest=digest, out_of_range=out_of_range)
        write_atomically(self.path(piece).with_suffix(".json"), json.dumps(part.document()).encode(), mode=0o644)
        return part

    def done(self, source: Source) -> dict[int, Part]:
        """The parts that are whole, by piece; what is left of others is removed."""
        found: dict[int, Part] = {}
        for piece in source.pieces:
            record = self.path(piece.number).with_suffix(".json")
            try:
                part = Part.model_validate_json(record.read_bytes())
                whole = (part.digest, part.size) == digest_of(self.path(piece.number)) and part.rows == piece.rows
            except (OSError, ValidationError):
                whole = False
            if whole:
                found[piece.number] = part
            else:
                record.unlink(missing_ok=True)
        return found

    def clear(self) -> None:
        """Remove everything."""
        shutil.rmtree(self.root, ignore_errors=True)


def digest_of(path: Path) -> tuple[str, int]:
    """Digest and size of a file."""
    with path.open("rb") as file:
        checksum = hashlib.file_digest(file, "sha256").hexdigest()
        return f"sha256:{checksum}", os.fstat(file.fileno()).st_size


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
