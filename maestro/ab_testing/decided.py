"""Decisions of a bandit's log with what they brought: the columns from which policies learn, replay and are judged."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maestro.ab_testing.exposures import Floats, number_column, read_columns, time_column
from maestro.core.errors import BadInput, Malformed, NotFound

_NEEDED = (
    "at", "experiment", "unit", "arm", "version", "revision", "snapshot", "propensity", "context", "reward_id",
)  # fmt: skip


@dataclass(frozen=True)
class Decided:
    """First exposures of one experiment, oldest first; every array has one entry an exposure.

    `reward` is NaN until it arrives; `context` is exposures × numbers (NaN where one is missing), None when the log has none, or several widths.
    """

    at_s: Floats
    unit: NDArray[np.str_]
    arm: NDArray[np.str_]
    version: NDArray[np.str_]
    revision: NDArray[np.int64]
    snapshot: NDArray[np.str_]
    propensity: Floats
    context: Floats | None
    reward: Floats

    @property
    def size(self) -> int:
        """Exposures."""
        return int(self.arm.size)

    def take(self, rows: NDArray[Any]) -> Decided:
        """Some of them."""
        return Decided(
            self.at_s[rows], self.unit[rows], self.arm[rows], self.version[rows], self.revision[rows], self.snapshot[rows],
            self.propensity[rows], None if self.context is None else self.context[rows], self.reward[rows],
        )  # fmt: skip

    def first_of_units(self) -> Decided:
        """One exposure a unit, its first: what follows depends on what came before."""
        _, first = np.unique(self.unit, return_index=True)
        return self.take(np.sort(first))


def read_decided(paths: Sequence[Path], experiment: str, rewards: Path | None) -> Decided:
    """Read the exposures of one experiment.

    Args:
        paths: Parquet files of exposures.
        rewards: the server's `rewards.jsonl`, or a Parquet file of `reward_id` and `reward`; the first reward of an exposure counts.

    Raises:
        NotFound: a file is missing.
        Malformed: a file cannot be read.
        BadInput: a column is missing or of the wrong kind, or the experiment has no exposure.
    """
    if not paths:
        raise BadInput("no exposure file is named", field="exposures", remedy="name at least one Parquet file")
    tables = [read_columns(path, _NEEDED, "exposures") for path in paths]
    joined = {name: np.concatenate([np.asarray(table[name], dtype=object) for table in tables]) for name in _NEEDED}
    mine = joined["experiment"].astype(str) == experiment
    if not mine.any():
        seen = ", ".join(sorted(set(joined["experiment"].astype(str).tolist()))) or "none"
        raise BadInput(
            f"there is no exposure of experiment {experiment!r} (seen: {seen})",
            field="experiment",
            remedy="name the experiment as the inference graph does",
        )
    rows = {name: values[mine] for name, values in joined.items()}
    at, ids = time_column(rows["at"]), rows["reward_id"].astype(str)
    order = np.lexsort((ids, at))
    unit = rows["unit"].astype(str)
    decided = Decided(
        at_s=at,
        unit=unit,
        arm=rows["arm"].astype(str),
        version=rows["version"].astype(str),
        revision=number_column(rows["revision"], "revision").astype(np.int64),
        snapshot=np.array(["" if value is None else str(value) for value in rows["snapshot"]], dtype=np.str_),
        propensity=number_column(rows["propensity"], "propensity"),
        context=_contexts(rows["context"]),
        reward=_rewards(rewards, experiment, ids, unit, at),
    )
    return decided.take(order)


def _contexts(values: NDArray[Any]) -> Floats | None:
    lists = [None if value is None else list(value) for value in values.tolist()]
    widths = {len(value) for value in lists if value is not None}
    if len(widths) != 1:
        return None
    width = widths.pop()
    empty = [np.nan] * width
    return np.array([empty if value is None else value for value in lists], dtype=np.float64).reshape(-1, width)


def _rewards(path: Path | None, experiment: str, ids: NDArray[Any], unit: NDArray[Any], at: Floats) -> Floats:
    result = np.full(ids.size, np.nan)
    if path is None:
        return result
    by_id: dict[str, float] = {}
    by_unit: list[tuple[list[str], float, float]] = []
    if path.suffix == ".jsonl":
        for record in _lines(path):
            if "i" in record:
                by_id.setdefault(record["i"], record["r"])
            elif record.get("e") == experiment:
                by_unit.append((record["u"], _seconds(record["t"]), record["r"]))
    else:
        table = read_columns(path, ("reward_id", "reward"), "rewards")
        values = number_column(table["reward"], "reward").tolist()
        for name, value in zip(table["reward_id"].astype(str).tolist(), values, strict=True):
            by_id.setdefault(name, value)
    for position, name in enumerate(ids.tolist()):
        result[position] = by_id.get(name, np.nan)
    if by_unit:
        _join_by_unit(result, by_unit, unit, at)
    return result


def _join_by_unit(
    result: Floats, rewards: list[tuple[list[str], float, float]], unit: NDArray[Any], at: Floats
) -> None:
    """A reward of a unit belongs to its latest exposure up to then; the first that belongs to an exposure counts."""
    places: dict[str, list[int]] = {}
    for position in np.argsort(at, kind="stable").tolist():
        places.setdefault(str(unit[position]), []).append(position)
    for names, when, value in rewards:
        seen = [position for name in names for position in places.get(name, ()) if at[position] <= when]
        if seen:
            latest = max(seen, key=lambda position: at[position])
            if np.isnan(result[latest]):
                result[latest] = value


def _lines(path: Path) -> list[dict[str, Any]]:
    try:
        lines = path.read_text().splitlines()
    except FileNotFoundError:
        raise NotFound(f"there is no file {path}", field="rewards", remedy="name an existing file") from None
    except (OSError, UnicodeDecodeError):
        raise Malformed(f"{path} cannot be read", field="rewards", remedy="restore the file") from None
    found = []
    for line in lines:
        try:
            record = json.loads(line)
        except ValueError:
            continue  # a torn last line: it was never acknowledged
        if isinstance(record, dict) and "r" in record:
            found.append(record)
    return found


def _seconds(text: str) -> float:
    return float(time_column(np.array([text], dtype=object))[0])
