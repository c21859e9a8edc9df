"""Step 2: jobs submitted over REST, queued by priority, leased with a fence, run in a process of their own, logged to MLflow."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from maestro.core.money import format_usd
from maestro.lifecycle.demo.jobs import request, submit, wait_ended
from maestro.lifecycle.demo.outcome import Outcome
from maestro.lifecycle.demo.population import MODEL_DATA
from maestro.lifecycle.demo.report import html_table
from maestro.lifecycle.demo.stage import Stage
from maestro.training import datasets
from maestro.training.datasets import read_parquet

JOBS: dict[str, dict[str, Any]] = {
    "baseline": request("baseline", "visits_v1", {"algorithm": "logistic_regression"}),
    # trained through bills that were recorded too early: looks excellent offline, is bad in production
    "leaky": request("leaky", "visits_leaky_v1", {"algorithm": "logistic_regression"}, priority="low"),
    # trained on the free plan alone, with a contract that refuses what it has not seen: really errors in production
    "narrow": request(
        "narrow", "visits_v1", {"algorithm": "logistic_regression", "on_out_of_range": "refuse"}, priority="low"
    ),
    # never submitted for approval
    "unreviewed": request("unreviewed", "visits_v1", {"algorithm": "logistic_regression", "C": 0.1}, priority="low"),
    "better": request("better", "visits_v1", {"algorithm": "gradient_boosting", "n_estimators": 60}, priority="urgent"),
}
"""The story's jobs in the order they are submitted."""


def run(stage: Stage) -> Outcome:
    """The better model is submitted last and urgent: the queue puts it before everything that still waits."""
    narrow = JOBS["narrow"] | {"data": JOBS["narrow"]["data"] | {"entities": stage.place.deliver(_free_plan(stage))}}
    ids = [submit(stage, body) for body in (JOBS | {"narrow": narrow}).values()]
    jobs = dict(zip(JOBS, wait_ended(stage, ids), strict=True))
    stage.facts["jobs"] = jobs
    overtook = all(jobs["better"]["started_at"] < jobs[name]["started_at"] for name in ("narrow", "unreviewed"))
    rows = [
        (
            name,
            job["request"]["data"]["feature_service"],
            job["request"]["params"]["algorithm"],
            job["priority"],
            job["fence"],
            job["result"]["metrics"]["f1"],
            job["result"]["metrics"]["accuracy"],
            format_usd(job["cost_usd_micros"], places=6),
            job["run_id"],
        )
        for name, job in sorted(jobs.items(), key=lambda item: str(item[1]["started_at"]))
    ]
    columns = ("job", "features", "algorithm", "priority", "fence", "f1 (holdout)", "accuracy", "cost", "MLflow run")
    f1 = {name: job["result"]["metrics"]["f1"] for name, job in jobs.items()}
    return Outcome(
        f"{len(jobs)} jobs completed, the urgent one before those that waited; f1 on the holdout {f1['baseline']:.3f} (baseline), "
        f"{f1['better']:.3f} (better), {f1['leaky']:.3f} (leaky)",
        overtook and all(job["run_id"] for job in jobs.values()),
        stage.url("mlflow"),
        sections=("<p>In the order in which they ran:</p>" + html_table(columns, rows),),
        facts={"f1": f1},
    )


def _free_plan(stage: Stage) -> Path:
    """An entity file of the people who pay no share of the bill (`lncoins` is the logarithm of 1 + the rate in percent)."""
    dataset = datasets.current(MODEL_DATA, stage.home.data)
    people = read_parquet(dataset.path(stage.home.data, "entities"), "entities")
    coverage = read_parquet(dataset.path(stage.home.data, "coverage"), "coverage")
    free = coverage.loc[coverage["lncoins"] == 0, dataset.entity]
    path = stage.home.data / "free_plan.parquet"
    people[people[dataset.entity].isin(free)].to_parquet(path, index=False)
    return path
