"""Two workers train one model; a group that loses one goes on from the last checkpoint."""

from __future__ import annotations

import subprocess
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import pytest

from maestro.training.backends import Attempt, LocalBackend, Phase
from maestro.training.models import model_type
from maestro.training.pipeline.train import train
from tests.training.conftest import request_for
from tests.training.models.rows import binary


@pytest.mark.shows("B4", "B10", env="laptop")
def test_a_group_that_loses_a_worker_ends_with_the_same_model(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "tests.training.distribution.forked_groups", str(tmp_path)],
        capture_output=True, text=True, check=False, timeout=100,
    )  # fmt: skip
    assert done.stdout.splitlines()[-1:] == ["[False, True, False]"], done.stdout + done.stderr
    same_model("xgboost", tmp_path)


def same_model(library: str, folder: Path) -> None:
    """The group that lost a worker went on from a checkpoint, and every rank of both groups has one model, as good as that of one process."""
    answers = [np.load(folder / name / f"rank-{rank}.npy") for name in ("whole", "killed") for rank in (0, 1)]
    assert all((each == answers[0]).all() for each in answers)
    assert int((folder / "killed" / "rank-0.txt").read_text()) >= 20
    assert int((folder / "whole" / "rank-0.txt").read_text()) == 0
    prepared = binary(3000)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        alone = train(model_type("classifier"), {"algorithm": library, "n_estimators": 60}, prepared, seed=3).model
    right = [
        (np.argmax(each, axis=1) == prepared.holdout_target).mean()
        for each in (answers[0], alone.predict_proba(prepared.holdout.to_numpy()))
    ]
    assert abs(right[0] - right[1]) < 0.03


@pytest.mark.shows("B10", env="laptop")
def test_the_local_backend_starts_a_failed_group_again(tmp_path: Path) -> None:
    code = (
        "import os,sys,time,pathlib\nrank=os.environ['RANK']\nmark=pathlib.Path(sys.argv[1])/('tried-'+rank)\n"
        "first=not mark.exists()\nmark.write_text('')\nprint('worker', rank, 'first' if first else 'again', flush=True)\n"
        "time.sleep(0.3)\nsys.exit(1) if rank=='1' and first else None\ntime.sleep(0.2)\n"
    )
    backend = LocalBackend((sys.executable, "-S", "-c", code))
    attempt = Attempt(
        job_id="job-1",
        attempt=1,
        fence=1,
        request=request_for(workers=2),
        submitted_by="human:ada",
        folder=tmp_path / "1",
    )
    lines: list[str] = []
    offset = 0
    try:
        backend.submit(attempt)
        deadline = time.monotonic() + 20
        while (status := backend.status(attempt.handle)).phase is Phase.RUNNING and time.monotonic() < deadline:
            more, offset = backend.logs(attempt.handle, offset)
            lines += more
            time.sleep(0.02)
        more, _ = backend.logs(attempt.handle, offset)
        lines += more
        assert status.phase is Phase.SUCCEEDED
        assert [line for line in lines if line] == [
            "worker 0 first",
            "the group is started again: worker 1 ended with exit status 1",
            "worker 0 again",
        ]
        assert status.cpu_s > 0
    finally:
        backend.close()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--workers", "0", "--", "true"], "--workers"),
        (["--workers", "2"], "program"),
        (["--workers", "2", "--max-restarts", "-1", "--", "true"], "--max-restarts"),
    ],
)
def test_the_launcher_refuses_bad_arguments(arguments: list[str], words: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "maestro.training.distribution.launch", *arguments],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert words in done.stderr
