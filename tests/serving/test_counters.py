"""Counters outlive their writer and are read as one sum."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from maestro.serving.counters import Bank, total

WRITER = """
import os, signal, sys
from maestro.serving.counters import Bank
from pathlib import Path
bank = Bank.of(Path(sys.argv[1]))
for number in range(1000):
    bank.cells(("a", str(number % 7)))[0] += 1
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_killed_writer_has_counted_and_its_successor_counts_on(tmp_path: Path) -> None:
    path = tmp_path / "bank"
    reader = Bank.of(path)
    for _ in range(2):
        done = subprocess.run([sys.executable, "-c", WRITER, str(path)], check=False, timeout=60)
        assert done.returncode == -signal.SIGKILL
    sums = total([reader])
    assert sum(float(row[0]) for row in sums.values()) == 2000
    assert len(sums) == 7


def test_a_full_bank_goes_on_without_a_name(tmp_path: Path) -> None:
    bank = Bank.of(tmp_path / "bank")
    for number in range(3000):
        bank.cells(("x" * 200, str(number)))[0] += 1
    kept = total([bank])
    assert 0 < len(kept) < 3000
    assert all(float(row[0]) == 1 for row in kept.values())
    assert os.path.getsize(tmp_path / "bank") == 1 << 20
