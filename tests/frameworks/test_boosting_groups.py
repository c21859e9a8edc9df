"""The launcher as users run it, with XGBoost's and LightGBM's own collectives; a worker is killed in mid-run."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.training.distribution.test_groups import same_model

pytestmark = pytest.mark.frameworks


@pytest.mark.shows("B4", "B10", env="laptop")
@pytest.mark.door
@pytest.mark.timeout(300)
@pytest.mark.parametrize("library", ["xgboost", "lightgbm"])
def test_a_group_that_loses_a_worker_is_started_again(library: str, tmp_path: Path) -> None:
    program = ["python", "-m", "tests.training.distribution.boosting_program", library]
    for name, more in (("whole", []), ("killed", ["die"])):
        done = subprocess.run(
            [sys.executable, "-m", "maestro.training.distribution.launch", "--workers", "2", "--", *program, str(tmp_path / name), *more],
            capture_output=True, text=True, check=False, timeout=140,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        assert ("the group is started again" in done.stderr) == (name == "killed")
    same_model(library, tmp_path)
