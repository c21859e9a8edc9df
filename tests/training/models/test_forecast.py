"""Forecasts of a real series: features know nothing of the future, and the past is repeated honestly."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from maestro.clients.mlflow_model import save_sklearn
from maestro.core.errors import BadInput
from maestro.core.jobs import DataSpec
from maestro.training.examples.series import write_co2
from maestro.training.models import model_type
from maestro.training.models.forecast import Forecast
from maestro.training.models.lags import Windows, evenly_spaced, table
from maestro.training.pipeline.evaluate import evaluate
from maestro.training.pipeline.load import Loaded, load
from maestro.training.pipeline.train import train

QUICK: dict[str, Any] = {"n_estimators": 40, "horizon": 4, "backtest_folds": 2}


@pytest.fixture(autouse=True)
def _libraries_warn() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@pytest.fixture(scope="module")
def co2(tmp_path_factory: pytest.TempPathFactory) -> Loaded:
    path = tmp_path_factory.mktemp("co2") / "co2.parquet"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert write_co2(path) == 2284
        return load(DataSpec(feature_service="file", entities=str(path), target="co2"), path, path)


@pytest.mark.shows("B23", "B24", env="laptop")
def test_weekly_co2_is_forecast_better_than_by_its_newest_value(co2: Loaded) -> None:
    kind = Forecast()
    prepared = kind.prepare(co2, QUICK, 0)
    trained = train(kind, QUICK, prepared)
    metrics = evaluate(kind, trained, prepared, QUICK)
    assert {f"{side}{name}" for side in ("", "backtest_") for name in ("mae", "rmse", "mape", "r2")} <= set(metrics)
    assert metrics["backtest_skill"] > 0.3
    assert metrics["backtest_r2"] > 0.9
    assert metrics["backtest_mae"] < metrics["backtest_naive_mae"]
    # the series rises: what is forecast at its end is more than anything in training
    assert trained.model.predict(prepared.holdout).max() > prepared.train_target.max() + 5


def test_no_feature_changes_when_the_future_does() -> None:
    rng = np.random.default_rng(0)
    values = pd.Series(
        rng.normal(size=200).cumsum(), index=pd.date_range("2020-01-05", periods=200, freq="W", tz="UTC")
    )
    windows = Windows(horizon=3)
    rows = table(values, windows)
    for cut in (80, 120, 180):
        changed = values.copy()
        changed.iloc[cut + 1 :] += 1000.0
        again = table(changed, windows)
        known = rows["origin"] <= values.index[cut]
        columns = [name for name in rows.columns if name != "target"]
        pd.testing.assert_frame_equal(rows.loc[known, columns], again.loc[known, columns])
    one = rows[(rows["origin"] == values.index[100]) & (rows["steps_ahead"] == 2)].iloc[0]
    assert one["target"] == values.iloc[102]
    assert (one["lag_0"], one["lag_3"], one["season_ago"]) == (values.iloc[100], values.iloc[97], values.iloc[50])
    assert one["mean_4"] == pytest.approx(values.iloc[97:101].mean())


def test_no_training_row_has_its_target_in_the_holdout(co2: Loaded) -> None:
    prepared = Forecast().prepare(co2, QUICK, 0)
    assert prepared.train_times is not None
    assert prepared.holdout_times is not None
    assert prepared.train_times["target_at"].max() <= prepared.holdout_times["origin"].min()
    for fit, test in Forecast().folds(prepared, 3):
        assert prepared.train_times["target_at"].iloc[fit].max() <= prepared.train_times["origin"].iloc[test].min()


def test_gaps_are_straight_lines_and_two_values_for_a_time_are_refused() -> None:
    times = pd.Series(pd.to_datetime(["2020-01-01", "2020-01-02", "2020-01-03", "2020-01-06", "2020-01-07"], utc=True))
    series = evenly_spaced(times, pd.Series([1.0, 2.0, 3.0, 6.0, 7.0]))
    assert series.tolist() == [1, 2, 3, 4, 5, 6, 7]
    with pytest.raises(BadInput, match="two values"):
        evenly_spaced(pd.concat([times, times[:1]]), pd.Series(range(6)))


@pytest.mark.parametrize(
    ("params", "field"),
    [
        ({"horizon": 0}, "params.horizon"),
        ({"lags": "all"}, "params.lags"),
        ({"means": [1]}, "params.means"),
        ({"season": -1}, "params.season"),
        ({"season": 5000}, "params.season"),
        ({"algorithm": "ridge"}, "params.algorithm"),
        ({"backtest_folds": 0}, "params.backtest_folds"),
    ],
)
def test_a_wrong_parameter_is_named(co2: Loaded, params: dict[str, Any], field: str) -> None:
    kind = Forecast()

    def whole() -> None:
        prepared = kind.prepare(co2, params, 0)
        kind.build(params, 0)
        kind.backtest(params, prepared, 0)

    with pytest.raises(BadInput) as caught:
        whole()
    assert caught.value.field == field


def test_the_model_that_is_saved_is_loaded_without_running_code(co2: Loaded, tmp_path: Path) -> None:
    kind = model_type("forecast")
    prepared = Forecast().prepare(co2, QUICK, 0)
    trained = train(kind, QUICK, prepared)
    sample = prepared.holdout.head(5)
    told = trained.model.predict(sample)
    save_sklearn(
        tmp_path / "m",
        trained.model,
        inputs=sample,
        outputs=told,
        run_id=None,
        model_id=None,
        requirements=["lightgbm"],
    )
    assert (tmp_path / "m" / "model.skops").exists()
    import mlflow.pyfunc

    assert (mlflow.pyfunc.load_model(str(tmp_path / "m")).predict(sample) == told).all()
