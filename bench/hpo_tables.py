"""The tables on which searches are compared: every forest of a fixed set of settings really fitted once a fold, its score and CPU seconds kept."""

from __future__ import annotations

import statistics
import time
from collections import deque
from collections.abc import Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, field
from itertools import product
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from maestro.training.search.trials import Begun, Ended, Setting, Step

FOLDS = 3
TREES = (10, 18, 32, 56, 100)
DEPTHS = (2, 5, 8, 12, 20)
LEAVES = (1, 3, 8, 20)
SHARES = (0.05, 0.15, 0.4, 1.0)
SIZES = {"trees": len(TREES), "depth": len(DEPTHS), "leaf": len(LEAVES), "share": len(SHARES)}
GRID = [(a, b, c, d) for a, b, c, d in product((0, 2, 4), (0, 2, 4), (0, 1, 3), (0, 1, 3))]
"""Three points of each dimension, its ends among them."""

Point = tuple[int, int, int, int]


@dataclass
class Table:
    """Scores (accuracy) and CPU seconds of every setting, by point and fold."""

    name: str
    scores: dict[Point, list[float]] = field(default_factory=dict)
    seconds: dict[Point, list[float]] = field(default_factory=dict)

    def score(self, point: Point) -> float:
        return statistics.fmean(self.scores[point])

    def cost(self, point: Point) -> float:
        return sum(self.seconds[point])

    @property
    def target(self) -> float:
        """The best score of the grid."""
        return max(map(self.score, GRID))

    @property
    def grid_seconds(self) -> float:
        return sum(map(self.cost, GRID))


def datasets() -> dict[str, tuple[NDArray[np.float64], NDArray[np.int64]]]:
    """Digits, breast cancer, and the first 2,500 rows of randhie (any visit or none), each as the package brings it."""
    from sklearn.datasets import load_breast_cancer, load_digits
    from statsmodels.datasets import randhie

    visits = randhie.load_pandas().data.sample(2500, random_state=0)
    return {
        "digits": load_digits(return_X_y=True),
        "breast cancer": load_breast_cancer(return_X_y=True),
        "randhie": (visits.drop(columns="mdvis").to_numpy(float), (visits["mdvis"] > 0).to_numpy().astype(int)),
    }


def fit_depth(name: str, depth: int) -> Table:
    """The part of a data set's table that has one depth. The largest forest of each setting is fitted once a fold; a smaller one is its first trees."""
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.model_selection import StratifiedKFold

    features, target = datasets()[name]
    table = Table(name)
    folds = list(StratifiedKFold(FOLDS, shuffle=True, random_state=0).split(features, target))
    for c, d in product(range(len(LEAVES)), range(len(SHARES))):
        for fit, test in folds:
            model = RandomForestClassifier(
                TREES[0],
                max_depth=DEPTHS[depth],
                min_samples_leaf=LEAVES[c],
                max_features=SHARES[d],
                random_state=0,
                warm_start=True,
            )
            spent = 0.0
            for a, trees in enumerate(TREES):
                began = time.process_time()
                model.set_params(n_estimators=trees).fit(features[fit], target[fit])
                spent += time.process_time() - began
                table.scores.setdefault((a, depth, c, d), []).append(
                    float((model.predict(features[test]) == target[test]).mean())
                )
                table.seconds.setdefault((a, depth, c, d), []).append(spent)
    return table


def fit_tables(pool: Executor) -> list[Table]:
    """A table of each data set, its depths shared out to the pool, the costly ones first."""
    parts = {
        name: [pool.submit(fit_depth, name, depth) for depth in reversed(range(len(DEPTHS)))] for name in datasets()
    }
    tables = []
    for name, futures in parts.items():
        table = Table(name)
        for future in futures:
            table.scores |= future.result().scores
            table.seconds |= future.result().seconds
        tables.append(table)
    return tables


class TableTrials:
    """Trials that are looked up (the seam `Trials`)."""

    outlives: ClassVar[bool] = False
    grace_s: ClassVar[float] = 1.0

    def __init__(self, table: Table) -> None:
        self._table = table
        self._judged = False
        self._events: deque[Step | Ended] = deque()
        self._at: dict[int, tuple[Point, int]] = {}
        self.path: list[tuple[float, float | None]] = []
        """For each trial in its order: seconds, and its score when it was completed."""

    def load(self, setting: Setting) -> None:
        self._judged = setting.judged

    def start(self, number: int, params: dict[str, Any], timeout_s: float) -> None:
        self._at[number] = ((params["trees"], params["depth"], params["leaf"], params["share"]), 0)
        self._next(number)

    def resume(self, trials: Mapping[int, Begun]) -> None:
        for number, begun in trials.items():
            self.start(number, begun.params, begun.timeout_s)

    def answer(self, number: int, *, go: bool) -> None:
        if go:
            self._next(number)
        else:
            self._finish(number, None)

    def wait(self, timeout_s: float | None = None) -> list[Step | Ended]:
        events = list(self._events)
        self._events.clear()
        return events

    def drop(self) -> None:
        self._at.clear()
        self._events.clear()

    def close(self) -> None:
        self.drop()

    def _next(self, number: int) -> None:
        point, done = self._at[number]
        if done == FOLDS:
            self._finish(number, self._table.score(point))
            return
        self._at[number] = (point, done + 1)
        spent = sum(self._table.seconds[point][: done + 1])
        self._events.append(
            Step(number, done + 1, {"accuracy": statistics.fmean(self._table.scores[point][: done + 1])}, spent)
        )
        if not self._judged or done + 1 == FOLDS:
            self._next(number)

    def _finish(self, number: int, score: float | None) -> None:
        point, done = self._at.pop(number)
        spent = sum(self._table.seconds[point][:done])
        metrics = {"accuracy": score, "seconds": spent} if score is not None else None
        self._events.append(Ended(number, 0, False, metrics, None, "", spent, spent, 0))
        self.path.append((spent, score))
