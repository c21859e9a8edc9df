"""The drift verdict: of each column, of the table, and whether to raise an alarm."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from pydantic import Field

from maestro.core.errors import BadInput
from maestro.core.model import Model
from maestro.decisions.drift.categorical import compare_categorical
from maestro.decisions.drift.multiplicity import benjamini_hochberg, simes
from maestro.decisions.drift.numeric import Comparison, compare_numeric
from maestro.decisions.drift.psi import categorical_psi, numeric_psi
from maestro.decisions.drift.reference import NumericProfile, ReferenceProfile, Values, counted, finite

WINDOW_LOOKS = 168
"""Hourly looks of a week, over which a table that does not shift raises an alarm with probability at most `WINDOW_ERROR`."""
WINDOW_ERROR = 0.001

Severity = Literal["none", "high", "critical"]


class ColumnDrift(Model):
    """One column's verdict. `effect` is a Kolmogorov–Smirnov distance or a total variation; PSI decides nothing."""

    column: str
    kind: Literal["numeric", "categorical"]
    test: Literal["ks", "chi2"]
    p_value: float
    p_adjusted: float
    effect: float
    effect_lower: float
    psi: float
    n_reference: int
    n_current: int
    drift: bool
    reason: str


class DriftVerdict(Model):
    """The table's verdict. `alarm` needs the share of drifting columns above a threshold and evidence that is strong
    enough for a week of hourly looks; single columns are alerted on by their own `drift`.
    """

    columns: tuple[ColumnDrift, ...]
    threshold: float
    material: float
    share: float = Field(description="drifting columns over all")
    drifted: tuple[str, ...]
    table_p_value: float = Field(description="Simes' p-value of no column differing")
    alarm: Severity
    drift: bool = Field(description="whether any column drifts")


def judge_drift(
    reference: ReferenceProfile,
    current: Mapping[str, Values],
    *,
    threshold: float = 0.05,
    material: float = 0.01,
    confidence: float = 0.95,
    high: float = 0.3,
    critical: float = 0.5,
) -> DriftVerdict:
    """Judge current data against a reference.

    Args:
        reference: from `profile`, exact or compact; its columns are judged, others in `current` are not looked at.
        current: name → one value a row.
        threshold: of the Benjamini–Hochberg-adjusted p-value (`--drift-threshold`).
        material: the smallest effect that is worth a look.
        confidence: of the lower bound of each effect.
        high: share of drifting columns above which the alarm is high (`--alert-threshold`).
        critical: share above which it is critical.

    Raises:
        BadInput: a column of the reference is missing, holds no value, or is not what the reference says; or a threshold
            is out of range.

    >>> import numpy as np
    >>> from maestro.decisions.drift.reference import profile
    >>> rng = np.random.default_rng(4)
    >>> base = profile({"x": rng.normal(size=5000), "y": rng.normal(size=5000)})
    >>> found = judge_drift(base, {"x": rng.normal(0.5, 1, 5000), "y": rng.normal(size=5000)})
    >>> found.drifted, found.share, found.alarm
    (('x',), 0.5, 'high')
    """
    _check(threshold, material, confidence, high, critical)
    absent = [name for name in reference.columns if name not in current]
    if absent:
        raise BadInput(
            f"current data lacks column {', '.join(absent)}",
            field=absent[0],
            remedy="give every column that the reference has, or profile a reference without it",
        )
    found: list[tuple[str, Comparison, float, int, int]] = []
    for name, base in reference.columns.items():
        if isinstance(base, NumericProfile):
            x, _ = finite(name, current[name])
            size, comparison, index = int(x.size), compare_numeric(base, x, confidence), numeric_psi(base, x)
        else:
            counts, _ = counted(current[name])
            size = sum(counts.values())
            comparison, index = (
                compare_categorical(base.counts, counts, confidence),
                categorical_psi(base.counts, counts),
            )
        if size == 0 or base.n == 0:
            side = "current data" if size == 0 else "the reference"
            raise BadInput(
                f"column {name} has no value in {side}",
                field=name,
                remedy="wait for data, or leave the column out; a column that is always missing is a matter of data quality",
            )
        found.append((name, comparison, index, base.n, size))
    raw = [comparison.p_value for _, comparison, *_ in found]
    adjusted = benjamini_hochberg(raw).tolist()
    columns = tuple(
        _column(name, reference.columns[name].kind, comparison, p, index, n, size, threshold, material)
        for (name, comparison, index, n, size), p in zip(found, adjusted, strict=True)
    )
    drifted = tuple(column.column for column in columns if column.drift)
    share = len(drifted) / len(columns)
    table_p = simes(raw)
    alarm: Severity = "none"
    if table_p <= WINDOW_ERROR / WINDOW_LOOKS:
        alarm = "critical" if share > critical else "high" if share > high else "none"
    return DriftVerdict(
        columns=columns,
        threshold=threshold,
        material=material,
        share=share,
        drifted=drifted,
        table_p_value=table_p,
        alarm=alarm,
        drift=bool(drifted),
    )


def _column(
    name: str,
    kind: Literal["numeric", "categorical"],
    found: Comparison,
    adjusted: float,
    index: float,
    n: int,
    size: int,
    threshold: float,
    material: float,
) -> ColumnDrift:
    differs, matters = adjusted < threshold, found.lower > material
    if differs and matters:
        reason = f"effect is at least {found.lower:.3f}, above {material:g}, at adjusted p {adjusted:.2g}"
    elif differs:
        reason = f"differs (adjusted p {adjusted:.2g}), but the effect may be as small as {found.lower:.3f}: not above {material:g}"
    else:
        reason = f"no difference shown (adjusted p {adjusted:.2g}, threshold {threshold:g})"
    return ColumnDrift(
        column=name,
        kind=kind,
        test="ks" if kind == "numeric" else "chi2",
        p_value=found.p_value,
        p_adjusted=adjusted,
        effect=found.effect,
        effect_lower=found.lower,
        psi=index,
        n_reference=n,
        n_current=size,
        drift=differs and matters,
        reason=reason,
    )


def _check(threshold: float, material: float, confidence: float, high: float, critical: float) -> None:
    for field, value, inside in (
        ("threshold", threshold, 0.0 < threshold < 1.0),
        ("material", material, 0.0 <= material < 1.0),
        ("confidence", confidence, 0.5 < confidence < 1.0),
        ("high", high, 0.0 <= high <= 1.0),
        ("critical", critical, high <= critical <= 1.0),
    ):
        if not inside:
            remedy = "critical must not be below high" if field == "critical" else "give a share between 0 and 1"
            raise BadInput(f"{field} is {value}", field=field, remedy=remedy)
