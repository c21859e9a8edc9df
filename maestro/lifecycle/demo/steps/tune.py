"""Step 3: a cost-aware study on the digits, stopped and resumed, every trial a run in MLflow."""

from __future__ import annotations

from typing import Any

from maestro.core.errors import NegativeVerdict
from maestro.lifecycle.demo.charts import Series, bar_chart, line_chart
from maestro.lifecycle.demo.outcome import Outcome
from maestro.lifecycle.demo.stage import Stage

_FIRST, _ALL = 6, 10
_STUDY: dict[str, Any] = {
    "name": "digits-forest",
    "data": {"feature_service": "digits_v1"},
    "space": "random_forest",
    "cost_weight": 0.02,
    "folds": 2,
    "seed": 1,
}


def run(stage: Stage) -> Outcome:
    """Six trials, then the same study again up to ten."""
    first = _search(stage, _FIRST)
    study = _search(stage, _ALL)
    trials = stage.api("submitter").get(f"/ai/hpo/studies/{study['id']}/trials", page_size=200)["items"]
    done = [trial for trial in trials if trial["state"].lower() == "complete" and trial.get("values")]
    best = study["best"]
    resumed = first["id"] == study["id"] and len(trials) == _ALL
    recorded = all(trial.get("run_id") for trial in trials)
    history = line_chart(
        "Score of each trial (accuracy − 0.02 × seconds ÷ reference)",
        [
            Series("trial", [(trial["number"], trial["values"][0]) for trial in done]),
            Series("best so far", _best_so_far(done)),
        ],
        x_label="trial",
        y_label="score",
    )
    importance = bar_chart(
        "Importance of the parameters", sorted(study["importance"].items(), key=lambda item: -item[1])
    )
    accuracy = best["values"].get("accuracy")
    return Outcome(
        f"{len(done)} of {len(trials)} trials completed, resumed after {_FIRST}; best accuracy {accuracy:.3f} (trial {best['number']})",
        resumed and recorded and accuracy > 0.85,
        f"{stage.url('mlflow')} run {study['run_id']}, study.html",
        sections=tuple(chart for chart in (history, importance) if chart),
        facts={"best": best, "trials": len(trials)},
    )


def _search(stage: Stage, trials: int) -> dict[str, Any]:
    client = stage.api("submitter")
    started = client.post("/ai/hpo/studies/start", _STUDY | {"n_trials": trials})

    def ended() -> dict[str, Any] | None:
        study: dict[str, Any] = client.get(f"/ai/hpo/studies/{started['id']}")
        stage.progress.update(study["trials"] / _ALL, f"{study['trials']} of {_ALL} trials")
        return study if study["status"] not in {"queued", "running"} else None

    study = stage.wait_for("the end of the study", ended, 90.0, 0.4)
    if study["status"] != "completed":
        raise NegativeVerdict(f"study {study['name']} {study['status']}: {study.get('error')}")
    return study


def _best_so_far(trials: list[dict[str, Any]]) -> list[tuple[float, float]]:
    best = float("-inf")
    points = []
    for trial in sorted(trials, key=lambda item: item["number"]):
        best = max(best, trial["values"][0])
        points.append((float(trial["number"]), best))
    return points
