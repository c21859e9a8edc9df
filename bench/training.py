"""Two workers against one, each on a core of its own: DDP on a network that computes, XGBoost and LightGBM, each beside the same called by hand.

The same global batch (or rows) and the same end: the losses are printed beside the times. What the cores of this machine lose to each other
is measured beside it: two trainings at once that never speak. A library that is not installed is left out and said. Each figure is the time of the training
itself, between all workers being ready and the last being done; the best of `REPEATS`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

REPEATS = int(os.environ.get("MAESTRO_BENCH_REPEATS", "2"))
ROWS, COLUMNS, ROUNDS = 400_000, 30, 40


def compare() -> list[str]:
    """One line for each way of training: seconds of one worker, of two, how many times faster, and both losses."""
    lines = [
        f"{len(os.sched_getaffinity(0))} cores; best of {REPEATS}",
        f"{'':<22} {'1 worker':>9} {'2 workers':>9} {'faster':>7}  losses",
    ]
    for name, needs in (
        ("ddp", "torch"), ("ddp by hand", "torch"), ("xgboost", "xgboost"), ("xgboost by hand", "xgboost"), ("lightgbm", "lightgbm"), ("lightgbm by hand", "lightgbm"),
    ):  # fmt: skip
        if find_spec(needs) is None:
            lines.append(f"{name:<22} left out: {needs} is not installed here")
            continue
        one, two = best(name, 1), best(name, 2)
        faster = one["seconds"] / two["seconds"]
        if name == "ddp":
            lines += ceilings(one["seconds"], two["seconds"])
        lines.append(
            f"{name:<22} {one['seconds']:>8.2f}s {two['seconds']:>8.2f}s {faster:>6.2f}×  {one['loss']:.4f} {two['loss']:.4f}"
        )
    return lines


def ceilings(one_s: float, two_s: float) -> list[str]:
    """What the machine allows: the training of one worker twice at once, and its halves at once, neither with a word between the two.

    Args:
        one_s: seconds of one worker.
        two_s: of two with DDP.
    """
    whole, shares = best("apart wholes", 2)["seconds"], best("apart shares", 2)["seconds"]
    lines = []
    for name, seconds, ceiling in (
        ("two at once, apart", whole, 2 * one_s / whole), ("two halves, apart", shares, one_s / shares)
    ):  # fmt: skip
        reached = one_s / two_s / ceiling
        lines.append(
            f"{name:<22} {one_s:>8.2f}s {seconds:>8.2f}s {ceiling:>6.2f}×  the ceiling; ddp reaches {reached:.1%} of it"
        )
    return lines


def best(name: str, workers: int) -> dict[str, float]:
    """Seconds and loss of the fastest of the repeats."""
    return min((_run(name, workers) for _ in range(REPEATS)), key=lambda found: found["seconds"])


def _run(name: str, workers: int) -> dict[str, float]:
    """Each worker is pinned to its core before it starts."""
    from maestro.training.distribution.launch import Launch

    cores = tuple(sorted(os.sched_getaffinity(0)))
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "found.json"
        command: tuple[str, ...] = (
            sys.executable,
            "-W",
            "ignore",
            "-m",
            "bench.training_worker",
            name,
            str(out),
            str(ROWS),
            str(COLUMNS),
            str(ROUNDS),
        )
        if name.endswith("by hand"):
            # as torchrun starts it: with the allocator's own setting
            command = (
                "env",
                "-u",
                "MALLOC_MMAP_MAX_",
                "-u",
                "MALLOC_TRIM_THRESHOLD_",
                "-u",
                "MALLOC_TOP_PAD_",
                *command,
            )
        code = Launch(command, workers, threads=1, cores=cores).run()
        if code:
            raise subprocess.CalledProcessError(code, command)
        found: dict[str, float] = json.loads(out.read_text())
    return found
