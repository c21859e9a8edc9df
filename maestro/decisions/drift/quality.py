"""Data quality: have missing values, outliers or unknown categories become materially more frequent?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np
from scipy import stats

from maestro.core.errors import BadInput
from maestro.core.model import Model
from maestro.decisions.drift.categorical import newcombe
from maestro.decisions.drift.reference import NumericProfile, ReferenceProfile, Values, counted, finite

Check = Literal["missing", "outliers", "new_categories"]


class QualityCheck(Model):
    """One check of one column: shares of rows, and the lower confidence bound of their increase."""

    column: str
    check: Check
    reference_share: float
    current_share: float
    increase_lower: float
    issue: bool
    examples: tuple[str, ...] = ()


class QualityReport(Model):
    """All checks; `issues` are those whose increase is above `material` beyond doubt."""

    checks: tuple[QualityCheck, ...]
    material: float
    absent_columns: tuple[str, ...]
    unknown_columns: tuple[str, ...]

    @property
    def issues(self) -> tuple[QualityCheck, ...]:
        """The checks that failed."""
        return tuple(check for check in self.checks if check.issue)

    @property
    def clean(self) -> bool:
        """Whether nothing is wrong."""
        return not self.issues and not self.absent_columns


def judge_quality(
    reference: ReferenceProfile, current: Mapping[str, Values], *, material: float = 0.01, confidence: float = 0.95
) -> QualityReport:
    """Judge the quality of current data against a reference.

    The bounds hold for all checks of the table at once (Bonferroni over Newcombe's score intervals). Numeric values are
    outliers beyond the reference's fences; not finite counts as missing.

    Raises:
        BadInput: a numeric column holds text, or an argument is out of range.

    >>> from maestro.decisions.drift.reference import profile
    >>> base = profile({"city": ["a", "b"] * 500})
    >>> report = judge_quality(base, {"city": ["a", "b"] * 400 + ["c", None] * 100})
    >>> [(check.check, check.current_share) for check in report.issues]
    [('missing', 0.1), ('new_categories', 0.1111111111111111)]
    """
    if not (0.0 <= material < 1.0 and 0.5 < confidence < 1.0):
        raise BadInput("material or confidence is out of range", field="material", remedy="give shares between 0 and 1")
    present = {name: base for name, base in reference.columns.items() if name in current}
    z = float(stats.norm.isf((1.0 - confidence) / max(2 * len(present), 1)))
    checks: list[QualityCheck] = []
    for name, base in present.items():
        if isinstance(base, NumericProfile):
            x, missing = finite(name, current[name])
            size = int(x.size)
            odd = x[(x < base.fence_low) | (x > base.fence_high)]
            second: Check = "outliers"
            before, now = base.outliers, int(odd.size)
            examples = tuple(f"{value:g}" for value in sorted(set(odd.tolist()), key=lambda v: (-abs(v), v))[:3])
        else:
            counts, missing = counted(current[name])
            size = sum(counts.values())
            new = {value: count for value, count in counts.items() if value not in base.counts}
            second, before, now = "new_categories", 0, sum(new.values())
            examples = tuple(sorted(new, key=lambda value: (-new[value], value))[:3])
        checks.append(
            _check(name, "missing", base.missing, base.n + base.missing, missing, size + missing, z, material, ())
        )
        checks.append(_check(name, second, before, base.n, now, size, z, material, examples))
    return QualityReport(
        checks=tuple(checks),
        material=material,
        absent_columns=tuple(name for name in reference.columns if name not in current),
        unknown_columns=tuple(name for name in current if name not in reference.columns),
    )


def _check(
    column: str, check: Check, a: int, n: int, b: int, m: int, z: float, material: float, examples: tuple[str, ...]
) -> QualityCheck:
    lower = 0.0
    if n and m:
        lower = max(float(newcombe(np.array([a]), n, np.array([b]), m, z)[0]), 0.0)
    return QualityCheck(
        column=column,
        check=check,
        reference_share=a / n if n else 0.0,
        current_share=b / m if m else 0.0,
        increase_lower=lower,
        issue=lower > material,
        examples=examples,
    )
