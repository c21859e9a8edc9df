"""Small tables on which models are tried."""

from __future__ import annotations

import numpy as np
import pandas as pd

from maestro.core.contract import Feature
from maestro.training.pipeline.preprocess import Prepared


def _prepared(target: np.ndarray, values: np.ndarray) -> Prepared:
    names = [f"x{number}" for number in range(values.shape[1])]
    frame = pd.DataFrame(values, columns=names)
    half = len(frame) * 3 // 4
    return Prepared(
        train=frame[:half].copy(), train_target=target[:half], holdout=frame[half:].reset_index(drop=True), holdout_target=target[half:],
        entities=np.empty(0, dtype=np.uint64), features=tuple(Feature(name=name) for name in names),
    )  # fmt: skip


def binary(rows: int = 600) -> Prepared:
    """Two classes by a curved border, with some noise."""
    rng = np.random.default_rng(7)
    values = rng.normal(size=(rows, 5))
    noise = rng.normal(scale=0.3, size=rows)
    return _prepared(((values[:, 0] + values[:, 1] ** 2 + noise) > 0.8).astype("int64"), values)


def numbers(rows: int = 600) -> Prepared:
    """A number by a curved surface."""
    rng = np.random.default_rng(8)
    values = rng.normal(size=(rows, 5))
    return _prepared(values[:, 0] * 2 + np.sin(values[:, 1] * 2) + rng.normal(scale=0.1, size=rows), values)
