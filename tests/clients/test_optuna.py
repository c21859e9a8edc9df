"""The adapter of Optuna: what two processes do at once, and what cannot be searched."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from maestro.clients import optuna as adapter
from maestro.clients import optuna_samplers
from maestro.clients.optuna import OWNER, Studies
from maestro.core.errors import BadInput


def test_a_lost_trial_that_two_find_is_queued_once(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/s.db"
    one, two = Studies(url), Studies(url)
    study = one.open("s", ["maximize"], optuna_samplers.sampler("random", seed=0), adapter.pruner("none", steps=1))
    lost, _ = one.ask(study, lambda t: {"x": t.suggest_float("x", 0, 1)})
    lost.set_user_attr(OWNER, f"{socket.gethostname()}:999999:1")

    def meanwhile(_: Mapping[str, Any]) -> dict[str, Any]:
        """Facts are asked for after the lost trial was found: then the other process is faster."""
        assert two.recover(two.load("s")) == 1
        return {"lost": True}

    assert one.recover(study, meanwhile) == 0
    assert [trial.state for trial in one.trials(study)] == ["fail", "waiting"]


def test_a_dimension_that_was_searched_in_another_way_is_named_and_its_trial_ended(tmp_path: Path) -> None:
    studies = Studies(f"sqlite:///{tmp_path}/s.db")
    study = studies.open("s", ["maximize"], optuna_samplers.sampler("random", seed=0), adapter.pruner("none", steps=1))
    studies.ask(study, lambda t: {"x": t.suggest_float("x", 0, 1)})
    with pytest.raises(BadInput, match="study 's'") as error:
        studies.ask(study, lambda t: {"x": t.suggest_categorical("x", ["a", "b"])})
    assert error.value.field == "dimensions"
    assert [trial.state for trial in studies.trials(study)] == ["running", "fail"]


def test_a_sampler_for_one_objective_is_refused_for_two() -> None:
    with pytest.raises(BadInput, match="one objective") as error:
        optuna_samplers.check_sampler("cmaes", 3, 2)
    assert error.value.field == "sampler"
