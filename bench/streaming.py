"""Streaming detectors: items a second, delay after a shift, false signals in streams without one."""

from __future__ import annotations

import time

import numpy as np

from maestro.decisions.cusum import RUN_LENGTH, Cusum, threshold_of
from maestro.observability.streaming import DETECTORS, create_detector

ITEMS = {"adwin": 200_000, "cusum": 200_000, "kswin": 10_000, "page-hinkley": 200_000}
START, RUNS = 5000, 300


def compare() -> list[str]:
    """One line a detector, then CUSUM in arrays beside a chart that was told mean, deviation and shift."""
    rng = np.random.default_rng(2026)
    lines = [f"{'detector':>14} {'items/s, one by one':>20} {'false signals in 100,000':>25}"]
    for name in sorted(DETECTORS):
        stream = rng.normal(size=ITEMS[name]).tolist()
        detector, found = create_detector(name), 0
        started = time.perf_counter()
        for value in stream:
            detector.update(value)
            found += detector.drift_detected
        rate = len(stream) / (time.perf_counter() - started)
        lines.append(f"{name:>14} {rate:>20,.0f} {found * 100_000 / len(stream):>25.2f}")
    values = rng.normal(size=3_000_000)
    started = time.perf_counter()
    false = len(Cusum().update_many(values))
    rate = values.size / (time.perf_counter() - started)
    lines.append(f"{'cusum, arrays':>14} {rate:>20,.0f} {false * 100_000 / values.size:>25.2f}")
    for shift in (0.5, 1.0, 2.0):
        runs = [_delays(np.random.default_rng(seed), shift) for seed in range(RUNS)]
        ours, best = zip(*(run for run in runs if run is not None), strict=True)
        lines.append(
            f"shift {shift}: cusum after {np.mean(ours):.1f} items, told the truth {np.mean(best):.1f}, ratio {np.mean(ours) / np.mean(best):.3f}"
        )
    return lines


def _delays(rng: np.random.Generator, shift: float) -> tuple[int, int] | None:
    stream = rng.normal(size=START + 600)
    stream[START:] += shift
    found = Cusum().update_many(stream)
    if not found or found[0] < START:
        return None  # a false signal before the shift, counted above
    slack = shift / 2
    path = np.cumsum(stream[START - 300 :] - slack)
    stands = path - np.minimum(np.minimum.accumulate(path), 0.0)
    told = int(np.argmax(stands > threshold_of(slack, 2 * RUN_LENGTH))) - 299
    return found[0] - START + 1, told
