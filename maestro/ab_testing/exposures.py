"""Exposures, rewards and covariates as columns: the first exposure of each unit, joined with what became of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maestro.core.canonical import digest, digest_bytes
from maestro.core.errors import BadInput, Malformed, NotFound
from maestro.core.exposure import COLUMNS

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
_NEEDED = ("at", "experiment", "unit", "arm", "revision", "propensity", "outcome_latency_s", "error", "reward_id")


@dataclass(frozen=True)
class Exposures:
    """First exposures of one experiment, oldest first; every array has one entry a unit.

    `challenger` says which arm, `revision` which graph was in force, `at_s` when (seconds since 1970), `reward` is NaN
    until it arrives, `covariate` is None when none was given (NaN for a unit without one).
    """

    challenger: NDArray[np.bool_]
    at_s: Floats
    revision: Integers
    propensity: Floats
    latency_s: Floats
    error: NDArray[np.bool_]
    reward: Floats
    covariate: Floats | None
    crossed: int
    other_arms: int
    digest: str

    @property
    def units(self) -> int:
        """Units in both arms."""
        return int(self.challenger.size)

    def until(self, at_s: float) -> Exposures:
        """The exposures up to a time: those old enough to have their reward."""
        rows = self.at_s <= at_s
        if rows.all():
            return self
        return replace(
            self,
            challenger=self.challenger[rows],
            at_s=self.at_s[rows],
            revision=self.revision[rows],
            propensity=self.propensity[rows],
            latency_s=self.latency_s[rows],
            error=self.error[rows],
            reward=self.reward[rows],
            covariate=None if self.covariate is None else self.covariate[rows],
        )


def read_exposures(
    paths: Sequence[Path],
    *,
    experiment: str,
    champion: str,
    challenger: str,
    rewards: Path | None = None,
    covariate: Path | None = None,
) -> Exposures:
    """Read the exposures of one experiment.

    Args:
        paths: Parquet files with the columns of `maestro.core.exposure.COLUMNS`.
        experiment: its name in the files.
        champion: arm names in the files.
        challenger: arm names in the files.
        rewards: Parquet file with `reward_id` and `reward`; the first reward of an id counts.
        covariate: Parquet file with `unit` and `covariate`, measured before the experiment.

    A unit counts once, in the arm and with the outcome of its first exposure; units seen in the other arm later are
    counted in `crossed`. Rows of other arms are counted in `other_arms`.

    Raises:
        NotFound: a file is missing.
        Malformed: a file is not Parquet.
        BadInput: a column is missing or of the wrong kind, or the experiment has no exposure.
    """
    if not paths:
        raise BadInput("no exposure file is named", field="exposures", remedy="name at least one Parquet file")
    tables = [read_columns(path, _NEEDED, "exposures") for path in paths]
    joined = {name: np.concatenate([table[name] for table in tables]) for name in _NEEDED}
    mine = joined["experiment"].astype(str) == experiment
    arms = joined["arm"].astype(str)
    known = mine & ((arms == champion) | (arms == challenger))
    if not known.any():
        seen = ", ".join(sorted(set(arms[mine].tolist()))) or "none"
        raise BadInput(
            f"experiment {experiment} has no exposure of {champion} or {challenger} (arms seen: {seen})",
            field="experiment",
            remedy="name the experiment and its arms as the inference graph does",
        )
    rows = {name: values[known] for name, values in joined.items()}
    at = time_column(rows["at"])
    is_challenger = rows["arm"].astype(str) == challenger
    # Time first; equal times by reward id, so that the order of files and rows changes nothing.
    order = np.lexsort((rows["reward_id"].astype(str), at))
    unit = rows["unit"].astype(str)[order]
    _, first, which = np.unique(unit, return_index=True, return_inverse=True)
    crossed = np.zeros(first.size, dtype=bool)
    np.logical_or.at(crossed, which, is_challenger[order] != is_challenger[order][first][which])
    kept = order[np.sort(first)]
    latency = number_column(rows["outcome_latency_s"], "outcome_latency_s")[kept]
    if (~np.isfinite(latency) | (latency < 0)).any():
        raise BadInput(
            "outcome_latency_s holds values that are negative or not finite",
            field="outcome_latency_s",
            remedy="record the seconds of every exposure, failed ones too",
        )
    return Exposures(
        challenger=is_challenger[kept],
        at_s=at[kept],
        revision=number_column(rows["revision"], "revision")[kept].astype(np.int64),
        propensity=number_column(rows["propensity"], "propensity")[kept],
        latency_s=latency,
        error=rows["error"][kept].astype(bool),
        reward=_join(rewards, "reward_id", "reward", rows["reward_id"].astype(str)[kept], "rewards"),
        covariate=None
        if covariate is None
        else _join(covariate, "unit", "covariate", rows["unit"].astype(str)[kept], "covariate"),
        crossed=int(crossed.sum()),
        other_arms=int((mine & ~known).sum()),
        digest=digest(
            {
                "exposures": sorted(digest_bytes(path.read_bytes()) for path in paths),
                "rewards": None if rewards is None else digest_bytes(rewards.read_bytes()),
                "covariate": None if covariate is None else digest_bytes(covariate.read_bytes()),
            }
        ),
    )


def write_exposures(path: Path, columns: Mapping[str, Sequence[Any]]) -> None:
    """Write exposures as Parquet, columns in their order; a column that is not given is written as missing values.

    Raises:
        BadInput: a column is unknown.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    unknown = sorted(set(columns) - set(COLUMNS))
    if unknown:
        raise BadInput(f"column {unknown[0]} is unknown", field=unknown[0], remedy=f"use {', '.join(COLUMNS)}")
    size = len(next(iter(columns.values())))
    table = pa.table({name: pa.array(columns[name]) if name in columns else pa.nulls(size) for name in COLUMNS})
    pq.write_table(table, path)


def _join(path: Path | None, key: str, value: str, wanted: NDArray[np.str_], what: str) -> Floats:
    result = np.full(wanted.size, np.nan)
    if path is None:
        return result
    table = read_columns(path, (key, value), what)
    keys, first = np.unique(table[key].astype(str), return_index=True)
    values = number_column(table[value], value)[first]
    if not keys.size:
        return result
    place = np.minimum(np.searchsorted(keys, wanted), keys.size - 1)
    found = keys[place] == wanted
    result[found] = values[place[found]]
    return result


def read_columns(path: Path, columns: Sequence[str], what: str) -> dict[str, NDArray[Any]]:
    """Columns of a Parquet file.

    Raises:
        NotFound: there is none.
        Malformed: it is not Parquet.
        BadInput: a column is missing.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        schema = pq.read_schema(path)
        missing = [name for name in columns if name not in schema.names]
        if missing:
            raise BadInput(
                f"{path.name} lacks column {', '.join(missing)}",
                field=missing[0],
                remedy=f"{what} need the columns {', '.join(columns)}",
            )
        table = pq.read_table(path, columns=list(columns))
    except FileNotFoundError as error:
        raise NotFound(f"there is no file {path}", field=what, remedy="name an existing Parquet file") from error
    except (pa.ArrowInvalid, OSError) as error:
        raise Malformed(f"{path} is not a readable Parquet file", field=what, remedy="write it again") from error
    return {name: table.column(name).to_numpy() for name in columns}


def time_column(values: NDArray[Any]) -> Floats:
    """Times as seconds since 1970.

    Raises:
        BadInput: some are no times.
    """
    if values.dtype.kind == "M":
        nanoseconds = values.astype("datetime64[ns]").astype(np.int64)
    else:
        try:
            texts = [str(value).removesuffix("Z") for value in values.tolist()]
            nanoseconds = np.array(texts, dtype="datetime64[ns]").astype(np.int64)
        except ValueError as error:
            raise BadInput("column at holds values that are no times", field="at", remedy="record UTC times") from error
    seconds: Floats = nanoseconds.astype(np.float64) / 1e9
    return seconds


def number_column(values: NDArray[Any], field: str) -> Floats:
    """Numbers, NaN for what is missing.

    Raises:
        BadInput: some are no numbers.
    """
    try:
        return np.array([np.nan if value is None else value for value in values.tolist()], dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise BadInput(
            f"column {field} holds values that are not numbers", field=field, remedy="record numbers"
        ) from error
