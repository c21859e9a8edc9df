"""Checkpoints are whole or not there, and are of one training."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from maestro.core.errors import Unreachable
from maestro.training.checkpoint import Checkpoints


def test_the_newest_is_given_and_two_are_kept(tmp_path: Path) -> None:
    told: list[int] = []
    kept = Checkpoints(tmp_path, "a", told=told.append)
    assert kept.latest() is None
    for step in (1, 2, 10):
        kept.save(step, bytes([step]) * 3)
    newest = kept.latest()
    assert newest is not None
    assert (newest.step, newest.state, told) == (10, b"\n\n\n", [1, 2, 10])
    assert len(list(tmp_path.iterdir())) == 2
    kept.clear()
    assert kept.latest() is None


def test_a_damaged_one_is_passed_over(tmp_path: Path) -> None:
    kept = Checkpoints(tmp_path)
    kept.save(1, b"first")
    kept.save(2, b"second")
    newest = max(tmp_path.iterdir())
    newest.write_bytes(newest.read_bytes()[:-1] + b"X")
    found = kept.latest()
    assert found is not None
    assert found.state == b"first"


def test_another_training_is_not_gone_on_from_and_attempts_share(tmp_path: Path) -> None:
    Checkpoints(tmp_path, "lr=0.1", fence=1).save(5, b"x")
    assert Checkpoints(tmp_path, "lr=0.2", fence=2).latest() is None
    later = Checkpoints(tmp_path, "lr=0.1", fence=2).latest()
    assert later is not None
    assert later.step == 5


def test_only_the_leader_writes_and_a_full_disk_is_named(tmp_path: Path) -> None:
    Checkpoints(tmp_path, writes=False).save(1, b"x")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").write_text("")
    with pytest.raises(Unreachable, match="checkpoint of step 1"):
        Checkpoints(tmp_path / "file").save(1, b"x")


def test_killed_while_writing_leaves_a_whole_one(tmp_path: Path) -> None:
    program = (
        "import sys\nfrom pathlib import Path\nfrom maestro.training.checkpoint import Checkpoints\n"
        "kept = Checkpoints(Path(sys.argv[1]))\nstep = 0\n"
        "while True:\n    step += 1\n    kept.save(step, step.to_bytes(8, 'big') * 40_000)\n    print(step, flush=True)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    printed = [int(process.stdout.readline()) for _ in range(20)][-1]
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    process.stdout.close()
    found = Checkpoints(tmp_path).latest()
    assert found is not None
    assert found.step >= printed
    assert found.state == found.step.to_bytes(8, "big") * 40_000
