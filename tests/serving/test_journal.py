"""Lines that survive: whole or not there."""

from __future__ import annotations

import resource
import signal
import subprocess
import sys
from pathlib import Path

from maestro.serving.journal import Journal


def test_what_was_appended_is_read_in_order(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j.jsonl")
    journal.append([{"n": 1}, {"n": 2}])
    journal.append([{"n": 3}])
    journal.sync()
    assert list(Journal(tmp_path / "j.jsonl").read()) == [{"n": 1}, {"n": 2}, {"n": 3}]


def test_what_was_appended_outlives_the_process(tmp_path: Path) -> None:
    program = (
        "import os, signal, sys, pathlib; from maestro.serving.journal import Journal;"
        "Journal(pathlib.Path(sys.argv[1])).append([{'n': 1}]); os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path / "j.jsonl")], check=False)
    assert done.returncode == -signal.SIGKILL
    assert list(Journal(tmp_path / "j.jsonl").read()) == [{"n": 1}]


def test_a_full_disk_leaves_no_half_line(tmp_path: Path) -> None:
    """The limit on file size stands for the disk: a write beyond it is cut short, the next fails."""
    program = (
        "import resource, signal, sys, pathlib\n"
        "from maestro.core.errors import Unreachable\n"
        "from maestro.serving.journal import Journal\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))\n"
        "journal = Journal(pathlib.Path(sys.argv[1]))\n"
        "journal.append([{'text': 'x' * 60}])\n"
        "try:\n"
        "    journal.append([{'text': 'y' * 60}])\n"
        "except Unreachable as error:\n"
        "    print(error.detail)\n"
        "journal.append([{'n': 1}])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "j.jsonl")], check=True, capture_output=True, text=True
    )
    assert "cannot be written" in done.stdout
    assert list(Journal(tmp_path / "j.jsonl").read()) == [{"text": "x" * 60}, {"n": 1}]
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY
