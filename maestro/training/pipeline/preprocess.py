"""Step 2, preprocess: drop what must not be trained on, split, and bring every feature to float64.

Scaling belongs to the model (`maestro.training.models.algorithms`), so that what is saved takes raw features. The split column of the entity file is honoured; without
one, rows are divided by a hash of their entity, so that no entity is on both sides.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from maestro.core.contract import Feature, RangeRule
from maestro.core.errors import BadInput
from maestro.training.datasets import SPLIT
from maestro.training.pipeline.entities import entity_numbers
from maestro.training.pipeline.load import Loaded

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd


@dataclass
class Prepared:
    """Features (float64) and targets of both sides, the entities seen, the range of each feature in training; for a series also the times of each row."""

    train: pd.DataFrame
    train_target: np.ndarray
    holdout: pd.DataFrame
    holdout_target: np.ndarray
    entities: np.ndarray
    features: tuple[Feature, ...]
    on_out_of_range: RangeRule = "accept_and_count"
    train_times: pd.DataFrame | None = None
    holdout_times: pd.DataFrame | None = None


def preprocess(
    loaded: Loaded, *, seed: int = 0, test_size: float = 0.25, on_out_of_range: RangeRule = "accept_and_count"
) -> Prepared:
    """Divide and clean.

    Args:
        loaded: the frame and its origin.
        seed: of the split, where the frame brings none.
        test_size: share of the holdout, where the frame brings no split.
        on_out_of_range: what the contract does with values that training did not see.

    Raises:
        BadInput: a feature is not a number, the target is missing, or a side is empty; the field is named.
    """
    import numpy as np

    info, frame = loaded.info, loaded.frame
    if not 0.0 < test_size < 1.0:
        raise BadInput(f"test_size is {test_size}", field="params.test_size", remedy="give a share between 0 and 1")
    if not info.features:
        raise BadInput(
            f"{info.dataset} has no feature column",
            field="data.entities",
            remedy="give feature columns beside the target",
        )
    if SPLIT in frame.columns:
        frame = frame[frame[SPLIT].isin(["train", "holdout"])]
    frame = frame[frame[info.target].notna()].reset_index(drop=True)
    if frame.empty:
        raise BadInput(
            f"no row has a value in target {info.target!r}",
            field="data.target",
            remedy="choose another target or window",
        )
    values = {}
    for name in info.features:
        if frame[name].dtype.kind not in "fiub":
            raise BadInput(
                f"feature {name!r} is {frame[name].dtype}, not a number", field="data.feature_service",
                remedy=f"leave {name} out of the feature service or encode it as numbers",
            )  # fmt: skip
        values[name] = frame[name].astype("float64")
    import pandas as pd

    features = pd.DataFrame(values)
    if np.isinf(features.to_numpy()).any():
        name = next(name for name in info.features if np.isinf(features[name].to_numpy()).any())
        raise BadInput(f"feature {name!r} holds an infinity", field="data.feature_service", remedy="clean the source")
    empty = [name for name in info.features if features[name].isna().all()]
    if empty:
        raise BadInput(
            f"feature {empty[0]!r} has no value at all",
            field="data.feature_service",
            remedy="check the source's timestamps",
        )
    numbers = (
        entity_numbers(frame[list(info.entity_keys)]) if info.entity_keys else np.arange(len(frame), dtype=np.uint64)
    )
    if SPLIT in frame.columns:
        is_train = (frame[SPLIT] == "train").to_numpy()
    else:
        mixed = (numbers ^ np.uint64(seed * 0x9E3779B97F4A7C15 & 0xFFFFFFFFFFFFFFFF)) * np.uint64(0xBF58476D1CE4E5B9)
        is_train = (mixed >> np.uint64(11)).astype("float64") / 2.0**53 >= test_size
    if not is_train.any() or is_train.all():
        raise BadInput(
            "the split leaves no row to train on or none to test on", field="data.entities", remedy="give more rows"
        )
    target = frame[info.target].to_numpy()
    train = features[is_train].reset_index(drop=True)
    return Prepared(
        train=train, train_target=target[is_train],
        holdout=features[~is_train].reset_index(drop=True), holdout_target=target[~is_train],
        entities=np.unique(numbers) if info.entity_keys else np.empty(0, dtype=np.uint64),
        features=tuple(_feature(name, train[name]) for name in info.features), on_out_of_range=on_out_of_range,
    )  # fmt: skip


def _feature(name: str, column: pd.Series) -> Feature:
    return Feature(
        name=name, type="float64", min=float(column.min()), max=float(column.max()), nullable=bool(column.isna().any())
    )
