"""Step 9: a real shift in the traffic is found, reported and alerted; the unshifted control stays silent."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from maestro.lifecycle.demo.outcome import Outcome
from maestro.lifecycle.demo.population import MODEL_DATA
from maestro.lifecycle.demo.report import html_table
from maestro.lifecycle.demo.stage import Stage
from maestro.training import datasets
from maestro.training.datasets import SPLIT, TIMESTAMP, read_parquet

_SHIFTED = {"disea": 0.5, "lncoins": 0.5}
"""Columns that are shifted, in standard deviations."""

_SEED = 11


def run(stage: Stage) -> Outcome:
    """The promised script, twice: on shifted and on unshifted callers."""
    reference, control, shifted = _tables(stage)
    calm = _monitor(stage, reference, control, "visits-control")
    stage.progress.update(0.4, "comparing the shifted traffic, drawing Evidently's report")
    report = (stage.out / "drift.html").resolve() if stage.place.setting.draws else None
    found = _monitor(stage, reference, shifted, "visits", *(("--report", str(report)) if report else ()))
    drifted = sorted(column["column"] for column in found["verdict"]["columns"] if column["drift"])
    rows = [
        (
            column["column"], column["test"], column["effect"], column["effect_lower"], column["p_value"], column["p_adjusted"],
            "drift" if column["drift"] else "no drift",
        )
        for column in found["verdict"]["columns"]
    ]  # fmt: skip
    columns = ("feature", "test", "effect", "lower bound", "p", "corrected p", "verdict")
    alerts = found["alerts"]
    return Outcome(
        f"drift in {', '.join(drifted)} ({len(drifted)} of {len(rows)} features), {len(alerts)} alerts; the control is silent",
        set(drifted) == set(_SHIFTED) and bool(alerts) and not calm["drift"] and not calm["alerts"],
        str(report or "maestro drift list"),
        sections=(
            html_table(columns, rows),
            *([f'<p><a href="{report.name}">Evidently report</a></p>'] if report else []),
        ),
        facts={"drifted": drifted, "alerts": len(alerts)},
    )


def _tables(stage: Stage) -> tuple[Path, Path, Path]:
    """Reference and control: two random halves of the callers. Shifted: the control with two columns moved."""
    dataset = datasets.current(MODEL_DATA, stage.home.data)
    table = read_parquet(dataset.path(stage.home.data, "coverage"), "coverage")
    features = table.drop(columns=[TIMESTAMP, datasets.CREATED, dataset.entity])
    people = read_parquet(dataset.path(stage.home.data, "entities"), "entities")
    calling = features[(people[SPLIT] == "traffic").to_numpy()].sample(frac=1.0, random_state=_SEED)
    half = len(calling) // 2
    reference, current = calling.iloc[:half], calling.iloc[half:]
    shifted = current.copy()
    for column, by in _SHIFTED.items():
        shifted[column] = shifted[column] + by * float(np.std(reference[column]))
    folder = stage.home.root / "drift"
    return (
        _write(folder, "reference", reference),
        _write(folder, "control", current),
        _write(folder, "shifted", shifted),
    )


def _write(folder: Path, name: str, table: pd.DataFrame) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.parquet"
    table.to_parquet(path, index=False)
    return path


def _monitor(stage: Stage, reference: Path, current: Path, dataset: str, *more: str) -> dict[str, Any]:
    """Run the promised script, or its command where the platform runs."""
    files = ("--reference-data", stage.place.deliver(reference), "--current-data", stage.place.deliver(current))
    return stage.place.command(
        "drift", "run", *files, "--drift-threshold", "0.05",
        "--alert-threshold", "0.3", "--dataset", dataset, *(more or ("--no-html",)),
    )  # fmt: skip
