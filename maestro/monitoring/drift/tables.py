"""Tables from Parquet and CSV files, and which of their columns can be watched, as what."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from maestro.core.errors import BadInput, Malformed, NotFound
from maestro.core.model import Model
from maestro.decisions.drift.reference import Kind

if TYPE_CHECKING:
    import pandas as pd

IDENTIFIER_SHARE = 0.5
"""A text column with more distinct values than this share of its rows (and than `IDENTIFIER_FLOOR`) names things: it has no distribution to watch."""

IDENTIFIER_FLOOR = 100


class ColumnTypes(Model):
    """Kind of each watched column, in the table's order, and why the others are left out."""

    kinds: dict[str, Kind]
    skipped: dict[str, str] = {}


def read_table(path: Path, field: str) -> pd.DataFrame:
    """The table of a Parquet or CSV file.

    Args:
        path: ends in `.parquet`, `.pq` or `.csv`.
        field: what the user called it, such as `--current-data`; errors name it.

    Raises:
        NotFound: there is no such file.
        Malformed: it is not what its name says.
        BadInput: it holds no rows, or its name says nothing.
    """
    import pandas as pd
    from pyarrow import ArrowException

    if not path.is_file():
        raise NotFound(f"{field}: {path} does not exist", field=field, remedy="check the path")
    suffix = path.suffix.lower()
    if suffix not in {".parquet", ".pq", ".csv"}:
        raise BadInput(
            f"{field}: {path} is neither Parquet nor CSV by its name",
            field=field,
            remedy="give a file that ends in .parquet, .pq or .csv",
        )
    try:
        table = pd.read_csv(path) if suffix == ".csv" else pd.read_parquet(path)
    except (ArrowException, pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError, OSError) as error:
        what = "CSV" if suffix == ".csv" else "Parquet"
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        raise Malformed(
            f"{field}: {path} cannot be read as {what}: {reason}", field=field, remedy=f"write it again as {what}"
        ) from None
    table.columns = [str(name) for name in table.columns]
    if table.columns.has_duplicates:
        twice = str(table.columns[table.columns.duplicated()][0])
        raise BadInput(f"{field}: column {twice} stands twice in {path}", field=twice, remedy="rename one of them")
    if table.empty:
        raise BadInput(f"{field}: {path} holds no rows", field=field, remedy="give a file with at least one row")
    return table


def choose_columns(table: pd.DataFrame, names: Sequence[str] = (), categorical: Sequence[str] = ()) -> ColumnTypes:
    """Which columns to watch, and as what.

    Numbers are numeric; booleans, texts and categories are categorical. Left out, unless named: times, nested values, and texts that look like identifiers.

    Args:
        table: the reference.
        names: watch exactly these (`--columns`).
        categorical: numbers that are codes, to be taken as categories.

    Raises:
        BadInput: a column named is not there, or nothing is left to watch.
    """
    require_columns(list(table.columns), [*names, *categorical], "the reference")
    kinds: dict[str, Kind] = {}
    skipped: dict[str, str] = {}
    for name in names or [str(each) for each in table.columns]:
        kind, reason = _kind(table[name], name in categorical)
        if kind is None or (reason and name not in names and name not in categorical):
            skipped[name] = reason
        else:
            kinds[name] = kind
    refused = [name for name in names if name in skipped]
    if refused:
        raise BadInput(
            f"column {refused[0]} cannot be watched: {skipped[refused[0]]}",
            field=refused[0],
            remedy="leave it out of --columns",
        )
    if not kinds:
        raise BadInput(
            "the reference has no column that can be watched",
            field="columns",
            remedy="name the columns with --columns; numbers, booleans and texts can be watched",
        )
    return ColumnTypes(kinds=kinds, skipped=skipped)


def require_columns(present: Sequence[str], wanted: Sequence[str], what: str) -> None:
    """Refuse a column that is not there.

    Raises:
        BadInput: names the first one, and what there is.
    """
    for name in wanted:
        if name not in set(present):
            known = ", ".join(list(present)[:12]) + (", …" if len(present) > 12 else "")
            raise BadInput(
                f"column {name} is not in {what}",
                field=name,
                remedy=f"{what} has: {known}; name columns that both files have",
            )


def _kind(column: pd.Series, as_category: bool) -> tuple[Kind | None, str]:
    import pandas as pd

    types = pd.api.types
    if types.is_datetime64_any_dtype(column.dtype) or isinstance(column.dtype, pd.PeriodDtype):
        return None, "times have no distribution to compare"
    if as_category or types.is_bool_dtype(column.dtype):
        return "categorical", ""
    if types.is_numeric_dtype(column.dtype) and not types.is_complex_dtype(column.dtype):
        return "numeric", ""
    present = column.dropna()
    if types.is_object_dtype(column.dtype) and len(present):
        if any(isinstance(value, list | dict | tuple | set) or hasattr(value, "shape") for value in present.head(100)):
            return None, "it holds nested values"
        if all(isinstance(value, int | float) and not isinstance(value, bool) for value in present.head(1000)):
            return "numeric", ""
    distinct = int(present.astype(str).nunique())
    if distinct > max(IDENTIFIER_FLOOR, IDENTIFIER_SHARE * len(present)):
        return "categorical", f"{distinct} distinct texts in {len(present)} rows look like identifiers"
    return "categorical", ""
