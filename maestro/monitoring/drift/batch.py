"""The check of one batch: the verdict of each column and of the table, and the quality of the data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from numpy.typing import ArrayLike
from pydantic import Field

from maestro.core.errors import BadInput
from maestro.core.model import Model
from maestro.decisions.drift import DriftVerdict, QualityReport, judge_drift, judge_quality
from maestro.monitoring.drift.reference import Reference
from maestro.monitoring.drift.tables import require_columns

if TYPE_CHECKING:
    import pandas as pd


class DriftOptions(Model):
    """What counts as drift and as an alarm (`--drift-threshold`, `--material`, `--alert-threshold`, `--critical-threshold`)."""

    threshold: float = Field(default=0.05, description="of the corrected p-value")
    material: float = Field(default=0.01, description="smallest effect worth a look: KS distance or total variation")
    high: float = Field(default=0.3, description="share of drifting columns above which the alarm is high")
    critical: float = Field(default=0.5, description="share above which it is critical")
    confidence: float = 0.95
    target: str | None = Field(default=None, description="column judged by itself and left out of the share")

    def checked(self) -> DriftOptions:
        """These options.

        Raises:
            BadInput: one is out of range; its flag is named.
        """
        for flag, value, inside, remedy in (
            ("--drift-threshold", self.threshold, 0.0 < self.threshold < 1.0, "give a number above 0 and below 1, such as 0.05"),
            ("--material", self.material, 0.0 <= self.material < 1.0, "give a number from 0 to below 1, such as 0.01"),
            ("--alert-threshold", self.high, 0.0 <= self.high <= 1.0, "give a share from 0 to 1, such as 0.3"),
            ("--critical-threshold", self.critical, self.high <= self.critical <= 1.0, "give a share from --alert-threshold to 1"),
        ):  # fmt: skip
            if not inside:
                raise BadInput(f"{flag} is {value}", field=flag, remedy=remedy)
        return self


class DriftCheck(Model):
    """The result. `target` is the verdict of the target column alone, when one is named."""

    dataset: str
    reference: str
    rows_reference: int
    rows_current: int
    options: DriftOptions
    verdict: DriftVerdict
    target: DriftVerdict | None = None
    quality: QualityReport
    skipped: dict[str, str] = {}

    @property
    def drift(self) -> bool:
        """Whether any column drifts, the target included."""
        return self.verdict.drift or (self.target is not None and self.target.drift)


def check_drift(
    reference: Reference, current: pd.DataFrame, dataset: str, options: DriftOptions | None = None
) -> DriftCheck:
    """Judge a batch against its reference.

    Raises:
        BadInput: an option is out of range, or a column of the reference is missing from the batch, holds no value in it, or is of another type.
    """
    options = (options or DriftOptions()).checked()
    watched = list(reference.types.kinds)
    if options.target is not None:
        require_columns(watched, [options.target], "the reference")
    require_columns([str(name) for name in current.columns], watched, "the current data")
    features = [name for name in watched if name != options.target]
    if not features:
        raise BadInput(
            f"column {options.target} is the only one", field="--target-column", remedy="watch at least one feature"
        )
    columns = {name: current[name].to_numpy() for name in watched}
    # Columns of the batch that the reference never saw are named by the quality report, unless they were left out on purpose.
    extra = {
        str(name): current[name].to_numpy()
        for name in current.columns
        if name not in watched and name not in reference.types.skipped
    }
    return DriftCheck(
        dataset=dataset,
        reference=reference.source,
        rows_reference=reference.rows,
        rows_current=len(current),
        options=options,
        verdict=judge_columns(reference.only(features), columns, options),
        target=judge_columns(reference.only([options.target]), columns, options) if options.target else None,
        quality=judge_quality(
            reference.profile, columns | extra, material=options.material, confidence=options.confidence
        ),
        skipped=reference.types.skipped,
    )


def judge_columns(reference: Reference, columns: Mapping[str, ArrayLike], options: DriftOptions) -> DriftVerdict:
    """The pure verdict with these options."""
    return judge_drift(
        reference.profile,
        columns,
        threshold=options.threshold,
        material=options.material,
        confidence=options.confidence,
        high=options.high,
        critical=options.critical,
    )
