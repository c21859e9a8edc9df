"""Runs a training script as a user does."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

EXAMPLES = Path(__file__).parents[2] / "training" / "examples"


def script(name: str, *arguments: object, status: int = 0, **environment: str) -> str:
    """What the script printed; its exit status is checked."""
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / name), *map(str, arguments)], capture_output=True, text=True, check=False, timeout=280,
        env=os.environ | environment,
    )  # fmt: skip
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout if status == 0 else done.stderr


def footprint(name: str, *arguments: object) -> tuple[str, float]:
    """What the script printed, and the most memory that it held at once, in MB (10^6 bytes)."""
    with tempfile.TemporaryFile("w+") as out:
        process = subprocess.Popen(
            [sys.executable, str(EXAMPLES / name), *map(str, arguments)], stdout=out, stderr=subprocess.STDOUT
        )
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        printed = out.read()
    assert process.returncode == 0, printed
    return printed, usage.ru_maxrss * 1024 / 1e6


def killed_after_a_checkpoint(name: str, folder: Path, *arguments: object) -> int:
    """Start a script, kill it with SIGKILL once a checkpoint is there; returns the newest step that was kept."""
    process = subprocess.Popen(
        [sys.executable, str(EXAMPLES / name), *map(str, arguments), "--checkpoint-dir", str(folder)], stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    deadline = time.monotonic() + 200
    while not list(folder.glob("*.ckpt")):
        assert process.poll() is None, "it ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.005)
    process.kill()
    process.wait()
    return max(int(path.name.split("-")[0]) for path in folder.glob("*.ckpt"))


def figure(printed: str, name: str) -> float:
    """The number of a closing line."""
    found = re.search(rf"^{name}: \$?([0-9.]+)", printed, re.MULTILINE)
    assert found, printed
    return float(found[1])
