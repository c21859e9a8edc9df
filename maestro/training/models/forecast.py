"""Forecasts of a series with LightGBM on calendar and lag features, measured by repeating the past from rolling origins."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from maestro.core.contract import Feature, Output
from maestro.core.errors import BadInput
from maestro.training.models.lags import Windows, evenly_spaced, table
from maestro.training.models.regressor import number_metrics

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from maestro.training.pipeline.load import Loaded
    from maestro.training.pipeline.preprocess import Prepared

OWN = frozenset({"lags", "means", "horizon", "season", "backtest_folds"})
_TIMES = ["origin", "target_at"]


class Forecast:
    """The target is the series; `event_timestamp` its time. Gaps are filled by straight lines.

    `params`: those of LightGBM, and `horizon` (steps ahead, 8), `lags`, `means`, `season` (steps in a year, 52; 0: none), `backtest_folds` (4). A row of the model is what
    was known at one origin, and `steps_ahead`.
    """

    name = "forecast"
    target_metric = "rmse"
    higher_is_better = frozenset({"r2", "backtest_r2", "backtest_skill"})

    def check(self, target: pd.Series) -> None:
        """Numbers that differ."""
        from pandas.api.types import is_numeric_dtype

        if not is_numeric_dtype(target) or target.nunique() < 2:
            raise BadInput(
                "the series must be numbers that differ", field="data.target", remedy="name the column of the series"
            )

    def algorithm(self, params: dict[str, Any]) -> str:
        """Always lightgbm."""
        if params.get("algorithm", "lightgbm") != "lightgbm":
            raise BadInput(
                f"algorithm {params['algorithm']!r} cannot forecast", field="params.algorithm", remedy="use lightgbm"
            )
        return "lightgbm"

    def build(self, params: dict[str, Any], seed: int, *, has_missing: bool = False) -> Any:
        """An unfitted training."""
        from maestro.training.models import algorithms
        from maestro.training.models.forecaster import ForecastTraining

        self.algorithm(params)
        own = {name: value for name, value in params.items() if name not in OWN}
        training = algorithms.boosted(own | {"algorithm": "lightgbm"}, "regression", seed)
        return ForecastTraining(training)

    def prepare(self, loaded: Loaded, params: dict[str, Any], seed: int) -> Prepared:
        """Features of every origin; the last share of the time is the holdout, and no training row's target lies in it."""
        import numpy as np
        import pandas as pd

        from maestro.training.datasets import TIMESTAMP
        from maestro.training.pipeline.preprocess import Prepared

        info, windows = loaded.info, windows_of(params)
        frame = loaded.frame
        if TIMESTAMP not in frame.columns:
            raise BadInput(
                f"a forecast needs the column {TIMESTAMP!r}", field="data.entities", remedy="add the time of each value"
            )
        frame = frame[frame[info.target].notna()]
        self.check(frame[info.target])
        keys = list(info.entity_keys)
        groups = [part for _, part in frame.groupby(keys, sort=True)] if keys else [frame]
        rows = pd.concat(
            [table(evenly_spaced(part[TIMESTAMP], part[info.target]), windows) for part in groups], ignore_index=True
        ).sort_values(["target_at", "origin"], kind="stable", ignore_index=True)
        cut = rows["target_at"].quantile(1.0 - float(params.get("test_size", 0.25)))
        before, after = rows["target_at"] <= cut, rows["origin"] >= cut
        if not before.any() or not after.any():
            raise BadInput(
                "the series is too short to hold out its end", field="data.entities", remedy="give a longer series"
            )
        names = [name for name in rows.columns if name not in {*_TIMES, "target"}]
        train, holdout = rows[before].reset_index(drop=True), rows[after].reset_index(drop=True)
        ranges = tuple(
            Feature(name=name, type="float64", min=float(train[name].min()), max=float(train[name].max()))
            for name in names
        )
        return Prepared(
            train=train[names].astype("float64"), train_target=train["target"].to_numpy(), holdout=holdout[names].astype("float64"),
            holdout_target=holdout["target"].to_numpy(), entities=np.empty(0, dtype=np.uint64), features=ranges,
            train_times=train[_TIMES], holdout_times=holdout[_TIMES],
        )  # fmt: skip

    def folds(self, prepared: Prepared, count: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Each fold is tested on a stretch after everything that it is fitted on."""
        import numpy as np

        times = _times(prepared.train_times)
        origins = times["origin"]
        edges = [origins.quantile(share) for share in np.linspace(0.4, 1.0, count + 1)]
        for start, end in pairwise(edges):
            fit = np.flatnonzero((times["target_at"] <= start).to_numpy())
            test = np.flatnonzero(((origins >= start) & (origins <= end)).to_numpy())
            if len(fit) and len(test):
                yield fit, test

    def backtest(self, params: dict[str, Any], prepared: Prepared, seed: int) -> dict[str, float]:
        """Forecast the holdout as it would have been: refitted at each fold's start on what was known then.

        Returns `backtest_mae`, `_rmse`, `_mape`, `_r2`, that of the naive forecast (the newest value) and the skill 1 − mae ÷ naive mae.
        """
        import numpy as np
        import pandas as pd

        count = _whole(params, "backtest_folds", 4, 1, 50)
        rows = pd.concat([prepared.train, prepared.holdout], ignore_index=True)
        target = np.concatenate([prepared.train_target, prepared.holdout_target])
        times = pd.concat([_times(prepared.train_times), _times(prepared.holdout_times)], ignore_index=True)
        held = np.arange(len(rows)) >= len(prepared.train)
        edges = pd.to_datetime(
            np.linspace(times["origin"][held].min().value, times["origin"][held].max().value + 1, count + 1).astype(
                "int64"
            ),
            utc=True,
        )
        told: list[np.ndarray] = []
        true: list[np.ndarray] = []
        naive: list[np.ndarray] = []
        for start, end in pairwise(edges):
            fit = (times["target_at"] <= start).to_numpy()
            test = held & ((times["origin"] >= start) & (times["origin"] < end)).to_numpy()
            if not test.any():
                continue
            model = self.build(params, seed)
            model.fit(rows[fit].reset_index(drop=True), target[fit])
            told.append(model.predict(rows[test]))
            true.append(target[test])
            naive.append(rows[test]["lag_0"].to_numpy())
        found = number_metrics(np.concatenate(true), np.concatenate(told))
        plain = float(np.abs(np.concatenate(true) - np.concatenate(naive)).mean())
        named = {f"backtest_{name}": value for name, value in found.items()}
        return named | {"backtest_naive_mae": plain, "backtest_skill": 1.0 - found["mae"] / plain if plain else 0.0}

    def metrics(self, model: Any, features: pd.DataFrame, target: np.ndarray) -> dict[str, float]:
        """mae, rmse, r2, and mape where no value is zero."""
        return number_metrics(target, model.predict(features))

    def output(self, model: Any) -> Output:
        """A forecast."""
        return Output(kind="forecast")


def windows_of(params: dict[str, Any]) -> Windows:
    """The features that `params` ask for.

    Raises:
        BadInput: a value is wrong; it is named.
    """
    plain = Windows()
    lags = _steps(params, "lags", plain.lags, 0)
    return Windows(
        lags=tuple(sorted({0, *lags})), means=_steps(params, "means", plain.means, 2),
        horizon=_whole(params, "horizon", plain.horizon, 1, 1000), season=_whole(params, "season", plain.season, 0, 100_000),
    )  # fmt: skip


def _times(times: pd.DataFrame | None) -> pd.DataFrame:
    if times is None:
        raise BadInput("these rows have no times", field="model_type", remedy="prepare them as a forecast")
    return times


def _steps(params: dict[str, Any], name: str, default: tuple[int, ...], low: int) -> tuple[int, ...]:
    value = params.get(name, default)
    if not isinstance(value, list | tuple) or not all(
        isinstance(item, int) and not isinstance(item, bool) and low <= item <= 100_000 for item in value
    ):
        raise BadInput(f"{name} is {value!r}", field=f"params.{name}", remedy=f"give whole numbers from {low} on")
    return tuple(value)


def _whole(params: dict[str, Any], name: str, default: int, low: int, high: int) -> int:
    value = params.get(name, default)
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise BadInput(
            f"{name} is {value!r}", field=f"params.{name}", remedy=f"give a whole number from {low} to {high}"
        )
    return value
