"""Batch drift on the same tables: our verdict beside fixed p-value rules, as they are the default elsewhere."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from maestro.decisions.drift.reference import profile
from maestro.decisions.drift.verdict import judge_drift

COLUMNS, ROWS, TABLES = 25, 10_000, 100
SHIFTS = (0.0, 0.01, 0.1, 0.25)


def _columns(rng: np.random.Generator, rows: int, shift: float) -> dict[str, NDArray[np.float64]]:
    return {f"x{number}": rng.normal(shift if number == 0 else 0.0, 1.0, rows) for number in range(COLUMNS)}


def compare() -> list[str]:
    """For each shift of one column in 25: the share of tables in which that column, and in which any other, is flagged."""
    rng = np.random.default_rng(2026)
    lines = [f"{TABLES} tables of {ROWS} rows x {COLUMNS} columns; the first column is shifted by the given standard deviations",
             f"{'shift':>6}  {'ours: found':>12} {'ours: others':>13}  {'KS p<0.05: found':>17} {'KS p<0.05: others':>18}"]  # fmt: skip
    for shift in SHIFTS:
        ours, others, fixed, fixed_others = 0, 0, 0, 0
        for _ in range(TABLES):
            base, current = _columns(rng, ROWS, 0.0), _columns(rng, ROWS, shift)
            drifted = set(judge_drift(profile(base), current).drifted)
            ours += "x0" in drifted
            others += bool(drifted - {"x0"})
            low = {name for name in base if stats.ks_2samp(base[name], current[name], method="asymp").pvalue < 0.05}
            fixed += "x0" in low
            fixed_others += bool(low - {"x0"})
        lines.append(
            f"{shift:>6}  {ours / TABLES:>12.3f} {others / TABLES:>13.3f}  {fixed / TABLES:>17.3f} {fixed_others / TABLES:>18.3f}"
        )
    return lines
