"""Writes the files of an experiment whose truth is known: exposures, rewards and a covariate."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np

from maestro.ab_testing.exposures import write_exposures

START = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Truth:
    """What holds for each arm (champion, challenger), and how units are dealt out."""

    units: int = 6000
    share: float = 0.5
    seen_share: float | None = None
    accuracy: tuple[float, float] = (0.80, 0.80)
    errors: tuple[float, float] = (0.01, 0.01)
    latency: tuple[float, float] = (0.020, 0.020)
    labelled: tuple[float, float] = (1.0, 1.0)
    value: tuple[float, float] | None = None
    seed: int = 1


@dataclass(frozen=True)
class Files:
    """Paths of what was written."""

    exposures: Path
    rewards: Path
    covariate: Path


def write_files(folder: Path, truth: Truth, experiment: str = "spring") -> Files:
    """Write one exposure a unit; rewards are 0 or 1, or a value that depends on the covariate when `value` is given."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rng = np.random.default_rng(truth.seed)
    n = truth.units
    arm = (rng.random(n) < (truth.share if truth.seen_share is None else truth.seen_share)).astype(int)
    past = rng.normal(size=n)
    units = [f"u{i:06d}" for i in range(n)]
    names = ["champion" if a == 0 else "challenger" for a in arm]
    ids = [f"r{i:06d}" for i in range(n)]
    write_exposures(
        folder / "exposures.parquet",
        {
            "at": [START + timedelta(seconds=0.1 * i) for i in range(n)],
            "experiment": [experiment] * n,
            "unit": units,
            "arm": names,
            "version": ["1.0.0" if a == 0 else "1.1.0" for a in arm],
            "revision": [1] * n,
            "propensity": [truth.share if a else 1.0 - truth.share for a in arm],
            "outcome_latency_s": (np.array(truth.latency)[arm] * rng.lognormal(0.0, 0.4, n)).tolist(),
            "error": (rng.random(n) < np.array(truth.errors)[arm]).tolist(),
            "reward_id": ids,
        },
    )
    if truth.value is None:
        reward = (rng.random(n) < np.array(truth.accuracy)[arm]).astype(float)
    else:
        reward = np.array(truth.value)[arm] + 0.9 * past + 0.436 * rng.normal(size=n)
    labelled = rng.random(n) < np.array(truth.labelled)[arm]
    pq.write_table(
        pa.table(
            {
                "reward_id": [i for i, seen in zip(ids, labelled, strict=True) if seen],
                "reward": reward[labelled].tolist(),
            }
        ),
        folder / "rewards.parquet",
    )
    pq.write_table(pa.table({"unit": units, "covariate": past.tolist()}), folder / "covariate.parquet")
    return Files(folder / "exposures.parquet", folder / "rewards.parquet", folder / "covariate.parquet")
