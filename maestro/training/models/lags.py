"""Calendar and lag features of an evenly spaced series: what is known at the moment a forecast is made."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from maestro.core.errors import BadInput

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd


@dataclass(frozen=True)
class Windows:
    """Which past values are features, in steps of the series.

    Args:
        lags: values that many steps before the forecast's origin (0 is the origin itself).
        means: lengths of windows that end at the origin, whose mean is a feature.
        horizon: the furthest step ahead; each step ahead is a row of its own, so that one model forecasts them all.
        season: steps in a year; the value one year before the target is a feature.
    """

    lags: tuple[int, ...] = (0, 1, 2, 3, 4, 12)
    means: tuple[int, ...] = (4, 13)
    horizon: int = 8
    season: int = 52

    @property
    def reach(self) -> int:
        """Steps of history that a row needs before its origin."""
        return max([*self.lags, *(length - 1 for length in self.means), self.season])


def evenly_spaced(times: pd.Series, values: pd.Series) -> pd.Series:
    """The series on an even grid of its most usual step; gaps are filled by straight lines between their ends.

    Raises:
        BadInput: fewer than three points, or two values for one time.
    """
    import pandas as pd

    series = pd.Series(
        values.to_numpy(dtype=float), index=pd.DatetimeIndex(pd.to_datetime(times, utc=True))
    ).sort_index()
    if series.index.has_duplicates:
        at = series.index[series.index.duplicated()][0]
        raise BadInput(f"the series has two values at {at}", field="data.entities", remedy="give one row a moment")
    if len(series) < 3:
        raise BadInput(f"the series has {len(series)} points", field="data.entities", remedy="give a longer series")
    step = pd.Series(series.index).diff().dropna().mode().iloc[0]
    grid = pd.date_range(series.index[0], series.index[-1], freq=step)
    placed = series.reindex(grid, method="nearest", tolerance=step / 2)
    return placed.interpolate("linear", limit_direction="both")


def table(series: pd.Series, windows: Windows) -> pd.DataFrame:
    """One row for each origin and step ahead.

    Columns: `origin` and `target_at` (times), `target`, and the features: `lag_k`, `mean_k`, `season_ago`, `steps_ahead`, `season_change`, and the target's `month`, `week`,
    `day_of_year` (and `day_of_week`, `hour` for finer series). Only origins with enough history and a known target.

    Raises:
        BadInput: the series is too short.
    """
    import numpy as np
    import pandas as pd

    values = series.to_numpy()
    first, last = windows.reach, len(values) - 2
    if last < first:
        raise BadInput(
            f"the series has {len(values)} points; these features need at least {first + 2}",
            field="params.season",
            remedy="give a longer series, or shorter lags, means or season",
        )
    running = np.concatenate([[0.0], np.cumsum(values)])
    parts = []
    for ahead in range(1, windows.horizon + 1):
        origins = np.arange(first, len(values) - ahead)
        if not len(origins):
            break
        rows: dict[str, Any] = {
            "origin": series.index[origins], "target_at": series.index[origins + ahead], "target": values[origins + ahead],
        }  # fmt: skip
        rows |= features_at(values, running, pd.DatetimeIndex(series.index), origins, ahead, windows)
        parts.append(pd.DataFrame(rows))
    return pd.concat(parts, ignore_index=True).sort_values(["origin", "steps_ahead"], kind="stable", ignore_index=True)


def features_at(
    values: np.ndarray, running: np.ndarray, index: pd.DatetimeIndex, origins: np.ndarray, ahead: int, windows: Windows
) -> dict[str, np.ndarray]:
    """The features of rows with these origins; nothing after an origin is used.

    Args:
        values: of the series.
        running: their cumulative sum, with a leading zero.
        index: their times, evenly spaced.
        origins: positions.
        ahead: steps from origin to target.
        windows: which past values are features.
    """
    step = index[1] - index[0]
    target_at = index[origins] + ahead * step
    found = {f"lag_{lag}": values[origins - lag] for lag in windows.lags}
    for length in windows.means:
        found[f"mean_{length}"] = (running[origins + 1] - running[origins + 1 - length]) / length
    if windows.season:
        # the season of the target, as far as it is known at the origin
        back = max(windows.season - ahead, 0)
        found["season_ago"] = values[origins - back]
        found["season_change"] = values[origins] - values[origins - windows.season]
    found["steps_ahead"] = origins * 0.0 + ahead
    found["month"] = target_at.month.to_numpy(dtype=float)
    found["week"] = target_at.isocalendar().week.to_numpy(dtype=float)
    found["day_of_year"] = target_at.dayofyear.to_numpy(dtype=float)
    if step.total_seconds() < 86400 * 7:
        found["day_of_week"] = target_at.dayofweek.to_numpy(dtype=float)
    if step.total_seconds() < 86400:
        found["hour"] = target_at.hour.to_numpy(dtype=float)
    return found
