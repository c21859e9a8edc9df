"""A batch job from its input to its output."""

from __future__ import annotations

import json
import os
import shutil
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq

from maestro.core.contract import ModelContract
from maestro.core.errors import BadInput, Conflict
from maestro.core.seams import Progress
from maestro.security.private_file import sync_folder, write_atomically
from maestro.serving.batch.crew import Crew
from maestro.serving.batch.parts import MERGED, BatchJob, Part, PartsFolder
from maestro.serving.batch.source import ROWS, Source, open_source


@dataclass(frozen=True)
class Share:
    """Which pieces a process answers: those whose number leaves `index` when divided by `count`."""

    index: int = 0
    count: int = 1

    @classmethod
    def parse(cls, text: str) -> Share:
        """From `i/n`; with `/n` alone the index is the one that an indexed Kubernetes Job gives its pod.

        Raises:
            BadInput: it is neither.

        >>> Share.parse("1/4")
        Share(index=1, count=4)
        """
        index, slash, count = text.partition("/")
        index = index or os.environ.get("JOB_COMPLETION_INDEX", "")
        if slash and index.isdigit() and count.isdigit() and 0 <= int(index) < int(count):
            return cls(int(index), int(count))
        raise BadInput(
            f"shard {text!r} is not i/n with i below n",
            field="shard",
            remedy="give such as 0/4, or /4 in a Job with completionMode: Indexed",
        )


@dataclass(frozen=True)
class BatchModel:
    """A version whose bytes and statements have been checked: its private copy, its contract and digest, where plans lie, what it must not read."""

    files: Path
    contract: ModelContract
    digest: str
    plans: Path
    private: tuple[Path, ...] = ()


@dataclass(frozen=True)
class BatchResult:
    """What was done: rows in all and by this run, seconds, the paths that answered, values beyond the ranges of training."""

    rows: int
    rows_now: int
    seconds: float
    paths: tuple[str, ...]
    out_of_range: dict[str, int]
    output: Path
    complete: bool


def predict(
    model: BatchModel,
    source_path: Path,
    output: Path,
    *,
    keep: tuple[str, ...] = (),
    scores: bool = False,
    overwrite: bool = False,
    dataset: bool = False,
    share: Share | None = None,
    processes: int | None = None,
    part_rows: int = ROWS,
    progress: Progress | None = None,
) -> BatchResult:
    """Answer every row of a table. Started again after it was interrupted, it goes on where it was.

    Args:
        source_path: a Parquet or CSV file or a folder of Parquet files.
        output: the Parquet file to write; with `dataset` or `share` a folder of them, one a piece, in the order of the rows by name.
        keep: columns beside the features that are handed through.
        scores: also write the score of each class.
        overwrite: replace what is there, and forget what an earlier run has done.
        share: this process's part of the pieces; its `output` is shared with the others.
        processes: workers; by default one a core.
        part_rows: rows in a part, about: whole row groups of the input.

    Raises:
        BadInput: the table, a row or an option is at fault.
        Conflict: the output is there, or belongs to another job, or another process is at it.
        Unreachable: the model fails.
    """
    began = time.monotonic()
    as_folder = dataset or share is not None
    share = share or Share()
    if output.suffix != ".parquet" and not as_folder:
        raise BadInput(f"output {output} does not end in .parquet", field="output", remedy="name it .parquet")
    if not output.parent.is_dir():
        raise BadInput(f"{output.parent} is no folder", field="output", remedy="create it")
    parts = PartsFolder(output if as_folder else output.with_name(f"{output.name}.parts"))
    if overwrite and share.count > 1:
        raise BadInput(
            "--overwrite with --shard: each share would remove what the others have done",
            field="overwrite",
            remedy="remove the folder before the shares start",
        )
    if overwrite:
        _remove(output)
        parts.clear()
    elif not as_folder and _is_merged(output, parts):
        parts.clear()
        rows = pq.read_metadata(output).num_rows
        return BatchResult(rows, 0, time.monotonic() - began, (), {}, output, True)
    elif output.exists() and not (as_folder and (output / "job.json").is_file()):
        raise Conflict(f"{output} exists", field="output", remedy="name another output, or replace it with --overwrite")
    spool = output.parent / f".{output.name}.spool-{share.index}"
    try:
        source = open_source(source_path, model.contract, keep, spool, part_rows)
    finally:
        with suppress(OSError):  # it is not there, or holds what a next run goes on with
            spool.rmdir()
    with parts.held(f"{share.index}-{share.count}"):
        parts.begin(BatchJob(version=model.digest, files=source.files, pieces=source.pieces, keep=keep, scores=scores))
        mine = [piece.number for piece in source.pieces if piece.number % share.count == share.index]
        done = parts.done(source)
        told = _Telling(progress, sum(source.pieces[number].rows for number in mine), began)
        told.add(sum(part.rows for number, part in done.items() if number in set(mine)), again=True)
        crew = Crew(_order(model, source, parts, keep, scores), processes or len(os.sched_getaffinity(0)), told.add)
        left = [number for number in mine if number not in done]
        now = crew.work(left) if left else []
        done |= {part.piece: part for part in now}
        complete = len(done) == len(source.pieces)
        if not as_folder:
            _merge(parts, source, output, told)
        shutil.rmtree(spool, ignore_errors=True)
    if not as_folder:
        parts.clear()
    return BatchResult(
        rows=sum(done[number].rows for number in mine),
        rows_now=sum(part.rows for part in now),
        seconds=time.monotonic() - began,
        paths=tuple(sorted(crew.paths)),
        out_of_range=_summed([done[number] for number in mine]),
        output=output,
        complete=complete,
    )


def _order(
    model: BatchModel, source: Source, parts: PartsFolder, keep: tuple[str, ...], scores: bool
) -> dict[str, object]:
    job = BatchJob(version=model.digest, files=source.files, pieces=source.pieces, keep=keep, scores=scores)
    return {
        "files": str(model.files),
        "plans": str(model.plans),
        "private": [str(path) for path in model.private],
        "parts": str(parts.root.resolve()),
        "job": job.document(),
    }


def _merge(parts: PartsFolder, source: Source, output: Path, told: _Telling) -> None:
    """One file of all parts, in the order of the rows, put in place by one rename."""
    told.say("writing the output")
    temporary = parts.root / "merged.parquet"
    writer: pq.ParquetWriter | None = None
    for piece in source.pieces:
        with pq.ParquetFile(parts.path(piece.number)) as file:
            if writer is None:
                writer = pq.ParquetWriter(temporary, file.schema_arrow)
            writer.write_table(file.read().cast(writer.schema))
    assert writer is not None  # noqa: S101 - a source has rows
    writer.close()
    descriptor = os.open(temporary, os.O_RDONLY)
    os.fsync(descriptor)
    os.close(descriptor)
    mark = {"size": temporary.stat().st_size, "rows": source.rows}
    write_atomically(parts.root / MERGED, json.dumps(mark).encode(), mode=0o644)
    temporary.replace(output)
    sync_folder(output.parent)


def _is_merged(output: Path, parts: PartsFolder) -> bool:
    """Whether the job that lies there was killed after its output was put in place."""
    try:
        mark = json.loads((parts.root / MERGED).read_bytes())
        return bool(output.stat().st_size == mark["size"] and pq.read_metadata(output).num_rows == mark["rows"])
    except (OSError, ValueError, KeyError):
        return False


def _remove(output: Path) -> None:
    if output.is_dir():
        if any(item.suffix not in (".parquet", ".json") and not item.name.startswith(".") for item in output.iterdir()):
            raise Conflict(f"{output} holds more than a job's parts", field="output", remedy="remove it by hand")
        shutil.rmtree(output)
    else:
        output.unlink(missing_ok=True)


def _summed(parts: list[Part]) -> dict[str, int]:
    found: dict[str, int] = {}
    for part in parts:
        for name, count in part.out_of_range.items():
            found[name] = found.get(name, 0) + count
    return found


class _Telling:
    """Rows as a fraction, with the rate of this run and the time that is left."""

    def __init__(self, progress: Progress | None, total: int, began: float) -> None:
        self._progress = progress
        self._total = max(total, 1)
        self._began = began
        self._before = 0
        self._rows = 0

    def add(self, rows: int, *, again: bool = False) -> None:
        """Rows have been answered; `again`: by an earlier run."""
        self._rows += rows
        if again:
            self._before += rows
        if self._progress is None:
            return
        rate = (self._rows - self._before) / max(time.monotonic() - self._began, 1e-3)
        left = f", {(self._total - self._rows) / rate:,.0f} s left" if rate > 0 else ""
        self._progress.update(
            self._rows / self._total, f"{self._rows:,} of {self._total:,} rows, {rate:,.0f} a second{left}"
        )

    def say(self, message: str) -> None:
        """What is being done now."""
        if self._progress is not None:
            self._progress.update(1.0, message)
