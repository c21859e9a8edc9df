"""The frugal sampler begins with what is cheap and tries nothing twice; the storage of a search answers from memory what the database holds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial

from maestro.clients import optuna as adapter
from maestro.clients import optuna_samplers
from maestro.clients.optuna import FACTS, OWNER, Studies
from maestro.clients.optuna_frugal import _encoded, cost_model

SPACE = {
    "trees": IntDistribution(10, 1000, log=True),
    "rate": FloatDistribution(0.0, 2.0),
    "kind": CategoricalDistribution(("slow", "fast")),
}


def finished(params: dict[str, Any], seconds: float | None, steps: int = 3) -> FrozenTrial:
    facts = {} if seconds is None else {FACTS: {"seconds": seconds, "steps": [{}] * steps}}
    return create_trial(value=0.5, params=params, distributions=dict(SPACE), user_attrs=facts)


def told_seconds(trial: FrozenTrial) -> float | None:
    return optuna_samplers.whole_seconds(trial, 3)


def test_points_are_encoded_along_their_ranges() -> None:
    rows = _encoded([{"trees": 100, "rate": 0.5, "kind": "fast"}, {"trees": 10, "rate": 2.0, "kind": "slow"}], SPACE)
    assert rows == pytest.approx(np.array([[0.5, 0.25, 0.0, 1.0], [0.0, 1.0, 1.0, 0.0]]))


def test_seconds_are_learned_from_whole_and_ended_trials() -> None:
    assert cost_model([finished({"trees": 10, "rate": 1.0, "kind": "fast"}, 1.0)], SPACE, told_seconds) is None
    assert told_seconds(finished({"trees": 10, "rate": 1.0, "kind": "fast"}, 2.0, steps=1)) == 6.0
    rng = np.random.default_rng(0)
    known = []
    for _ in range(30):
        params: dict[str, Any] = {
            "trees": int(rng.integers(10, 1001)),
            "rate": float(rng.uniform(0, 2)),
            "kind": str(rng.choice(["slow", "fast"])),
        }
        known.append(finished(params, params["trees"] * (10.0 if params["kind"] == "slow" else 1.0)))
    model = cost_model(known, SPACE, told_seconds)
    assert model is not None
    cheap, more, most = model(
        _encoded(
            [
                {"trees": trees, "rate": 1.0, "kind": kind}
                for trees, kind in ((10, "fast"), (500, "fast"), (500, "slow"))
            ],
            SPACE,
        )
    )
    assert cheap < more < most
    assert np.exp(most - more) == pytest.approx(10.0, rel=0.5)


def searched(
    studies: Studies, name: str, sampler: str, trials: int, sizes: tuple[int, ...], seed: int = 3
) -> list[dict[str, Any]]:
    """The points of a search whose score and seconds both grow with the first dimension."""
    study = studies.open(
        name,
        ["maximize"],
        optuna_samplers.sampler(sampler, seed=seed, startup=6, steps=1),
        adapter.pruner("none", steps=1),
    )
    for _ in range(trials):
        trial, params = studies.ask(
            study, lambda t: {f"x{at}": t.suggest_int(f"x{at}", 0, size - 1) for at, size in enumerate(sizes)}
        )
        studies.tell(study, trial, "complete", [params["x0"]], {"seconds": float(np.exp(params["x0"])), "steps": [{}]})
    return [found.params for found in studies.trials(study)]


def test_nothing_is_tried_twice_until_everything_was(tmp_path: Path) -> None:
    studies = Studies(f"sqlite:///{tmp_path}/s.db")
    points = [tuple(params.values()) for params in searched(studies, "small", "frugal_tpe", 10, (3, 4))]
    assert len(set(points)) == 10
    points = [tuple(params.values()) for params in searched(studies, "full", "frugal_tpe", 6, (2, 2))]
    assert len(points) == 6
    assert len(set(points)) == 4


def test_the_design_is_cheaper_than_a_random_one(tmp_path: Path) -> None:
    studies = Studies(f"sqlite:///{tmp_path}/s.db")
    means = {
        sampler: np.mean([[params["x0"] for params in searched(studies, f"{sampler}{seed}", sampler, 6, (10, 10), seed)] for seed in range(3)])
        for sampler in ("frugal_tpe", "tpe")
    }  # fmt: skip
    assert means["frugal_tpe"] < means["tpe"]


def test_what_memory_answers_is_what_the_database_holds(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/s.db"
    studies = Studies(url)
    study = studies.open(
        "s", ["maximize"], optuna_samplers.sampler("random", seed=0), adapter.pruner("median", steps=3)
    )
    running, _ = studies.ask(
        study, lambda t: {"x": t.suggest_float("x", 0, 1), "kind": t.suggest_categorical("kind", ["a", "b"])}
    )
    studies.report(running, 0.25, 1)
    other = Studies(url)
    there = other.load("s").get_trials()[0]
    here = study.get_trials()[0]
    assert there.user_attrs[OWNER] == here.user_attrs[OWNER], "whose it is, was written with it"
    assert (there.state, there.params, there.intermediate_values) == (TrialState.RUNNING, here.params, {1: 0.25})
    assert there.distributions == here.distributions
    told = studies.tell(study, running, "complete", [0.5], {"seconds": 2.0})
    assert other.trials(other.load("s")) == [
        told.model_copy(
            update={
                "finished": other.trials(other.load("s"))[0].finished,
                "seconds": other.trials(other.load("s"))[0].seconds,
            }
        )
    ]
    # a trial of another process is seen when the next of this one begins
    theirs, _ = other.ask(other.load("s"), lambda t: {"x": t.suggest_float("x", 0, 1)})
    assert len(study.get_trials()) == 1
    mine, _ = studies.ask(study, lambda t: {"x": t.suggest_float("x", 0, 1)})
    assert [trial.number for trial in study.get_trials()] == [0, theirs.number, mine.number]
    assert len(studies.trials(study)) == 3
