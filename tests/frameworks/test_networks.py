"""PyTorch and TensorFlow as kinds of model: through the pipeline's own steps, killed in mid-run, and served without the framework."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from maestro.training.checkpoint import Checkpoints
from maestro.training.models import model_type
from maestro.training.pipeline.train import train
from tests.training.models.rows import binary, numbers

pytestmark = [pytest.mark.frameworks, pytest.mark.timeout(200), pytest.mark.filterwarnings("ignore")]
KINDS = ("pytorch", "tensorflow")
PARAMS = {"epochs": 8, "batch_size": 32, "hidden": [32, 16], "checkpoint_steps": 10}


class _KilledError(Exception):
    pass


@pytest.mark.shows("B4", env="laptop")
@pytest.mark.parametrize("name", KINDS)
def test_it_learns_classes_and_numbers_and_tells_each_epoch(name: str) -> None:
    kind = model_type(name)
    trained = train(kind, PARAMS | {"epochs": 20}, binary(), seed=1)
    assert kind.metrics(trained.model, binary().holdout, binary().holdout_target)["accuracy"] > 0.8
    assert len(trained.history) == 20
    assert trained.history[-1]["loss"] < trained.history[0]["loss"]
    other = model_type(name)
    told = train(other, PARAMS, numbers(), seed=1)
    assert other.metrics(told.model, numbers().holdout, numbers().holdout_target)["r2"] > 0.7
    assert type(told.model).__module__ == "maestro.training.models.network"


@pytest.mark.parametrize("name", KINDS)
def test_killed_and_resumed_it_is_the_same_network(name: str, tmp_path: Path) -> None:
    prepared = binary()
    whole = train(model_type(name), PARAMS, prepared, seed=2).model.predict_proba(prepared.holdout)

    def told(step: int) -> None:
        if step >= 40:
            raise _KilledError

    with pytest.raises(_KilledError):
        train(model_type(name), PARAMS, prepared, seed=2, checkpoints=Checkpoints(tmp_path, told=told))
    resumed = train(model_type(name), PARAMS, prepared, seed=2, checkpoints=Checkpoints(tmp_path))
    assert resumed.resumed_at == 40
    assert np.abs(resumed.model.predict_proba(prepared.holdout) - whole).max() < 1e-9


@pytest.mark.shows("B5", env="laptop")
@pytest.mark.door
@pytest.mark.parametrize("name", KINDS)
def test_two_workers_end_with_one_network(name: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "maestro.training.distribution.launch", "--workers", "2", "--max-restarts", "0", "--", "python", "-m",
         "tests.frameworks.network_program", name, str(tmp_path)],
        capture_output=True, text=True, check=False, timeout=150,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    first, second = (np.load(tmp_path / f"rank-{rank}.npy") for rank in (0, 1))
    assert np.abs(first - second).max() < 1e-6
    alone = train(model_type(name), {"epochs": 6, "batch_size": 32}, binary(), seed=1).model.predict_proba(
        binary().holdout
    )
    assert np.abs(first - alone).mean() < 0.05
