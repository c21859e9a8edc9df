"""Boosting: early stopping, checkpoints with the same result as without the kill, parameters."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from maestro.core.errors import BadInput
from maestro.training.checkpoint import Checkpoints
from maestro.training.models import Distributed, Resumable, model_type
from maestro.training.pipeline import onnx
from maestro.training.pipeline.preprocess import Prepared
from maestro.training.pipeline.train import Trained, train
from tests.training.models.rows import binary, numbers

LIBRARIES = ("lightgbm", "xgboost")


@pytest.fixture(autouse=True)
def _libraries_warn() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


class _KilledError(Exception):
    pass


def fit(library: str, prepared: Prepared, kept: Checkpoints | None = None, **params: object) -> Trained:
    given = {"algorithm": library, "n_estimators": 60, "checkpoint_rounds": 10, "subsample": 0.7, **params}
    kind = "classifier" if prepared.train_target.dtype.kind == "i" else "regressor"
    return train(model_type(kind), given, prepared, seed=3, checkpoints=kept)


@pytest.mark.shows("B4", "B23", env="laptop")
@pytest.mark.parametrize("library", LIBRARIES)
def test_it_stops_early_and_keeps_its_best_round(library: str) -> None:
    prepared = binary()
    long = fit(library, prepared, n_estimators=400, learning_rate=0.5, early_stopping_rounds=15)
    best = int(long.params["best_iteration"])
    assert 0 < best < 300
    # the model that is kept holds the best rounds and no more: it is the model of a training that was told to grow just those
    short = fit(library, prepared, n_estimators=best, learning_rate=0.5, early_stopping_rounds=best)
    rows = prepared.holdout.to_numpy()
    assert (long.model.predict_proba(rows) == short.model.predict_proba(rows)).all()
    accuracy = (long.model.predict(rows) == prepared.holdout_target).mean()
    assert accuracy > 0.85
    assert long.model.n_estimators == best


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("make", [binary, numbers])
def test_killed_after_any_checkpoint_it_ends_with_the_same_model(
    library: str, make: Callable[[], Prepared], tmp_path: Path
) -> None:
    prepared = make()
    whole = fit(library, prepared, early_stopping_rounds=0).model.predict(prepared.holdout.to_numpy())
    for deaths in (1, 3):
        times: list[int] = []

        def told(step: int, times: list[int] = times, deaths: int = deaths) -> None:
            times.append(step)
            if len(times) == deaths:
                raise _KilledError

        with pytest.raises(_KilledError):
            fit(library, prepared, Checkpoints(tmp_path, told=told), early_stopping_rounds=0)
        resumed = fit(library, prepared, Checkpoints(tmp_path), early_stopping_rounds=0)
        # no more than one interval is lost
        assert resumed.resumed_at == 10 * deaths
        assert (resumed.model.predict(prepared.holdout.to_numpy()) == whole).all()
        assert Checkpoints(tmp_path).latest() is None


@pytest.mark.parametrize("library", LIBRARIES)
def test_the_finished_model_answers_as_onnx(library: str, tmp_path: Path) -> None:
    prepared = binary()
    assert onnx.export(tmp_path / "model.onnx", fit(library, prepared).model, prepared.holdout) is None


@pytest.mark.parametrize("library", LIBRARIES)
def test_gaps_are_borne_and_the_seams_kept(library: str) -> None:
    prepared = binary()
    prepared.train.iloc[::3, 0] = np.nan
    training = model_type("classifier").build({"algorithm": library, "n_estimators": 5}, 0, has_missing=True)
    assert all(isinstance(training, seam) for seam in (Resumable, Distributed))
    training.fit(prepared.train, prepared.train_target)
    assert training.predict_proba(prepared.holdout).shape == (len(prepared.holdout), 2)
    assert list(training.classes_) == [0, 1]


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize(
    ("params", "field"),
    [
        ({"colour": 3}, "params.colour"),
        ({"n_estimators": 0}, "params.n_estimators"),
        ({"n_estimators": "many"}, "params.n_estimators"),
        ({"early_stopping_rounds": -1}, "params.early_stopping_rounds"),
        ({"validation_share": 1.5}, "params.validation_share"),
        ({"checkpoint_rounds": True}, "params.checkpoint_rounds"),
        ({"learning_rate": [1]}, "params.learning_rate"),
    ],
)
def test_a_wrong_parameter_is_named(library: str, params: dict[str, object], field: str) -> None:
    with pytest.raises(BadInput) as caught:
        model_type("classifier").build({"algorithm": library, **params}, 0)
    assert caught.value.field == field


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_value_that_the_library_refuses_is_bad_input(library: str) -> None:
    with pytest.raises(BadInput, match="cannot be fitted"):
        fit(library, binary(), objective="nonsense")


def test_an_unknown_algorithm_lists_all() -> None:
    with pytest.raises(BadInput, match="unknown") as caught:
        model_type("classifier").build({"algorithm": "catboost"}, 0)
    assert "lightgbm" in caught.value.remedy
    assert "xgboost" in caught.value.remedy
    assert model_type("classifier").algorithm({"algorithm": "xgboost"}) == "xgboost"
