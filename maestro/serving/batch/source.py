"""Where rows come from: Parquet files, alone or in a folder, or CSV, which is written as Parquet first so that pieces of it can be found again."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from maestro.core.contract import ModelContract
from maestro.core.errors import BadInput, Malformed, NotFound
from maestro.core.model import Digest, Model
from maestro.serving.batch.columns import check_schema

ROWS = 131_072
"""Rows in a piece, about: a piece is whole row groups."""
_ARROW: dict[str, pa.DataType] = {
    "float64": pa.float64(), "int64": pa.int64(), "string": pa.string(), "bool": pa.bool_(),
}  # fmt: skip


class SourceFile(Model):
    """One Parquet file, known by its size and the digest of its footer, which tells every column chunk's place."""

    path: str
    size: int
    footer: Digest


class Piece(Model):
    """Some row groups of one file; `first` is the number of its first row in the file, `number` its place among all pieces."""

    number: int
    file: int
    groups: tuple[int, ...]
    first: int
    rows: int


@dataclass(frozen=True)
class Source:
    """Files and the pieces that they are read in, in the order of the rows."""

    files: tuple[SourceFile, ...]
    pieces: tuple[Piece, ...]

    @property
    def rows(self) -> int:
        """All rows."""
        return sum(piece.rows for piece in self.pieces)


def open_source(path: Path, contract: ModelContract, keep: tuple[str, ...], spool: Path, rows: int = ROWS) -> Source:
    """Find the pieces of a table and hold its columns against the contract.

    Args:
        path: a Parquet or CSV file, or a folder of Parquet files, which are read in the order of their names.
        contract: of the model.
        keep: columns beside the features that are handed through.
        spool: where CSV is written as Parquet.
        rows: in a piece, about.

    Raises:
        NotFound: there is nothing.
        Malformed: a file is not what its name says.
        BadInput: its columns are not the contract's, or there are no rows.
    """
    if path.is_dir():
        paths = sorted(item for item in path.iterdir() if item.suffix == ".parquet" and not item.name.startswith("."))
        if not paths:
            raise NotFound(f"{path} holds no .parquet file", field="input", remedy="name a file, or another folder")
    elif not path.is_file():
        raise NotFound(f"{path} does not exist", field="input", remedy="check the path")
    else:
        paths = [_spooled(path, contract, keep, spool, rows) if path.suffix.lower() == ".csv" else path]
    files: list[SourceFile] = []
    pieces: list[Piece] = []
    for number, item in enumerate(paths):
        metadata = _opened(item)
        check_schema(metadata.schema.to_arrow_schema(), contract, keep, item.name)
        files.append(SourceFile(path=str(item.resolve()), size=item.stat().st_size, footer=_footer(item)))
        _divide(metadata, number, rows, pieces)
    if not pieces:
        raise BadInput(f"{path} holds no rows", field="input", remedy="give at least one row")
    return Source(tuple(files), tuple(pieces))


def _divide(metadata: Any, file: int, most: int, pieces: list[Piece]) -> None:
    groups: list[int] = []
    first = rows = 0
    for group in range(metadata.num_row_groups):
        size = metadata.row_group(group).num_rows
        if groups and rows + size > most:
            pieces.append(Piece(number=len(pieces), file=file, groups=tuple(groups), first=first, rows=rows))
            first, rows, groups = first + rows, 0, []
        if size:
            groups.append(group)
            rows += size
    if groups:
        pieces.append(Piece(number=len(pieces), file=file, groups=tuple(groups), first=first, rows=rows))


def _opened(path: Path) -> Any:
    try:
        return pq.read_metadata(path)
    except (pa.ArrowInvalid, OSError) as error:
        first = (str(error).splitlines() or ["?"])[0][:160]
        raise Malformed(f"{path} is not Parquet: {first}", field="input", remedy="give Parquet or CSV") from None


def _footer(path: Path) -> str:
    """The digest of what stands after the last column chunk."""
    with path.open("rb") as file:
        file.seek(-8, os.SEEK_END)
        length = int.from_bytes(file.read(4), "little")
        file.seek(-min(length + 8, path.stat().st_size), os.SEEK_END)
        return "sha256:" + hashlib.sha256(file.read()).hexdigest()


def _spooled(path: Path, contract: ModelContract, keep: tuple[str, ...], spool: Path, rows: int) -> Path:
    """The CSV as Parquet; the one from before when the CSV has not changed."""
    status = path.stat()
    mark = hashlib.sha256(
        f"{path.resolve()} {status.st_size} {status.st_mtime_ns} {contract.order} {rows}".encode()
    ).hexdigest()
    target = spool / f"{path.stem}-{mark[:12]}.parquet"
    if target.is_file():
        return target
    spool.mkdir(parents=True, exist_ok=True)
    types = {feature.name: _ARROW[feature.type] for feature in contract.features}
    options = pyarrow.csv.ConvertOptions(
        column_types=types, null_values=[""], strings_can_be_null=True, true_values=["true", "True", "1"], false_values=["false", "False", "0"],
    )  # fmt: skip
    temporary = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        with pyarrow.csv.open_csv(path, convert_options=options) as reader:
            check_schema(reader.schema, contract, keep, path.name)
            with pq.ParquetWriter(temporary, reader.schema) as writer:
                for batch in reader:
                    writer.write_batch(batch, row_group_size=rows)
        temporary.replace(target)
    except pa.ArrowInvalid as error:
        first = (str(error).splitlines() or ["?"])[0][:200]
        raise Malformed(
            f"{path.name}: {_with_name(first, path)}", field="input", remedy="correct the value in the file"
        ) from None
    finally:
        temporary.unlink(missing_ok=True)
    return target


def _with_name(message: str, path: Path) -> str:
    """Arrow names a column by its number: `In CSV column #3`; users know its name."""
    marker = "column #"
    if marker not in message:
        return message
    begin, rest = message.split(marker, 1)
    digits = rest[: len(rest) - len(rest.lstrip("0123456789"))]
    with path.open(newline="") as file:
        names = file.readline().strip().split(",")
    name = names[int(digits)].strip('"') if digits and int(digits) < len(names) else f"#{digits}"
    return f"{begin}column {name!r}{rest[len(digits) :]}"
