"""Small models of every family whose trees are walked, and of some that are not, on data with ties, gaps and repeated values."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maestro.core.contract import Feature, ModelContract, Output

WIDTH = 5


@dataclass(frozen=True)
class Data:
    """Rows with their classes and numbers; `gaps` has missing values."""

    rows: NDArray[np.float64]
    gaps: NDArray[np.float64]
    classes: NDArray[np.int64]
    numbers: NDArray[np.float64]


def data(seed: int, classes: int = 2) -> Data:
    """120 rows of `WIDTH` numbers; some are whole, some differ by less than single precision shows."""
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(120, WIDTH))
    rows[:, 1] = np.round(rows[:, 1])
    rows[::3, 2] = rows[1::3, 2] * (1 + 1e-9)
    numbers = rows[:, 0] * 3 + rows[:, 1] ** 2 + rng.normal(size=120) * 0.1
    labels = np.digitize(numbers, np.quantile(numbers, np.linspace(0, 1, classes + 1)[1:-1]))
    gaps = rows.copy()
    gaps[rng.random(rows.shape) < 0.1] = np.nan
    return Data(rows, gaps, labels, numbers)


def contract_of(*, classes: tuple[str, ...] | None, nullable: bool = False, width: int = WIDTH) -> ModelContract:
    """Numbers in -4 to 4."""
    features = tuple(Feature(name=f"x{i}", min=-4.0, max=4.0, nullable=nullable) for i in range(width))
    kind = "regression" if classes is None else "classification"
    return ModelContract.build(features, Output(kind=kind, classes=classes))


Family = Callable[[Data, int], tuple[Any, bool]]
"""Makes a fitted model from data and a seed, and says whether it takes gaps."""


def _sklearn(name: str, *, gaps: bool = False, number: bool = False, **options: Any) -> Family:
    def make(found: Data, seed: int) -> tuple[Any, bool]:
        from sklearn import ensemble, tree

        factory = getattr(ensemble, name, None) or getattr(tree, name)
        model = factory(random_state=seed, **options)
        return model.fit(found.gaps if gaps else found.rows, found.numbers if number else found.classes), gaps

    return make


def _scaled(inner: Family, *, impute: bool = False) -> Family:
    def make(found: Data, seed: int) -> tuple[Any, bool]:
        from sklearn.base import clone
        from sklearn.impute import SimpleImputer
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import MinMaxScaler, StandardScaler

        model, _ = inner(found, seed)
        target = found.classes if hasattr(model, "classes_") else found.numbers
        steps = [SimpleImputer(strategy="median"), MinMaxScaler()] if impute else [StandardScaler()]
        return make_pipeline(*steps, clone(model)).fit(found.gaps if impute else found.rows, target), impute

    return make


def _boosted(library: str, name: str, *, gaps: bool, number: bool = False) -> Family:
    def make(found: Data, seed: int) -> tuple[Any, bool]:
        import pytest

        module = pytest.importorskip(library)
        options: dict[str, Any] = {"n_estimators": 7, "n_jobs": 1, "random_state": seed}
        options |= {"verbose": -1, "min_child_samples": 5} if library == "lightgbm" else {}
        model = getattr(module, name)(**options)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return model.fit(found.gaps if gaps else found.rows, found.numbers if number else found.classes), gaps

    return make


TREES: dict[str, Family] = {
    "tree": _sklearn("DecisionTreeClassifier"),
    "tree with gaps": _sklearn("DecisionTreeRegressor", gaps=True, number=True),
    "forest": _sklearn("RandomForestClassifier", n_estimators=12),
    "forest of numbers": _sklearn("RandomForestRegressor", n_estimators=9, number=True),
    "extra trees": _sklearn("ExtraTreesClassifier", n_estimators=7, max_depth=4),
    "scaled forest": _scaled(_sklearn("RandomForestClassifier", n_estimators=10)),
    "imputed and scaled forest": _scaled(_sklearn("ExtraTreesClassifier", n_estimators=10), impute=True),
    "boosting": _sklearn("GradientBoostingClassifier", n_estimators=8),
    "boosting of numbers": _sklearn("GradientBoostingRegressor", n_estimators=8, number=True),
    "histogram boosting": _sklearn("HistGradientBoostingClassifier", gaps=True, max_iter=8, min_samples_leaf=5),
    "histogram boosting of numbers": _sklearn(
        "HistGradientBoostingRegressor", gaps=True, number=True, max_iter=8, min_samples_leaf=5
    ),
    "xgboost": _boosted("xgboost", "XGBClassifier", gaps=True),
    "scaled xgboost": _scaled(_boosted("xgboost", "XGBClassifier", gaps=False)),
    "xgboost of numbers": _boosted("xgboost", "XGBRegressor", gaps=True, number=True),
    "lightgbm": _boosted("lightgbm", "LGBMClassifier", gaps=True),
    "lightgbm of numbers": _boosted("lightgbm", "LGBMRegressor", gaps=True, number=True),
}
