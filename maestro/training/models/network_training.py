"""Fitting a `Network` by a framework: parameters checked, rows scaled, checkpoints kept, a group joined."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from maestro.core.errors import BadInput
from maestro.training.checkpoint import Checkpoints
from maestro.training.distribution import ALONE, Group
from maestro.training.models.network import ClassifyingNetwork, Network
from maestro.training.models.parameters import RESERVED

if TYPE_CHECKING:
    import pandas as pd

Layers = list[tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True)
class Plan:
    """How a network is fitted, checked."""

    hidden: tuple[int, ...]
    epochs: int
    batch: int
    lr: float
    every: int
    seed: int

    @classmethod
    def of(cls, params: Mapping[str, Any], seed: int) -> Plan:
        """The plan that `params` describe: hidden, epochs, batch_size, lr, checkpoint_steps.

        Raises:
            BadInput: one is unknown or out of range; it is named.
        """
        own = {name: value for name, value in params.items() if name not in RESERVED | {"task"}}
        known = {"hidden": [64, 32], "epochs": 20, "batch_size": 64, "lr": 0.003, "checkpoint_steps": 100}
        for name in own:
            if name not in known:
                raise BadInput(
                    f"parameter {name!r} is unknown", field=f"params.{name}", remedy=f"it has {', '.join(known)}"
                )
        values = known | own
        hidden, lr = values["hidden"], values["lr"]
        if (
            not isinstance(hidden, list | tuple)
            or not 0 < len(hidden) <= 8
            or not all(_is_whole(item, 1, 4096) for item in hidden)
        ):
            raise BadInput(f"hidden is {hidden!r}", field="params.hidden", remedy="give 1 to 8 widths from 1 to 4096")
        if not isinstance(lr, int | float) or isinstance(lr, bool) or not 0 < lr <= 10:
            raise BadInput(f"lr is {lr!r}", field="params.lr", remedy="give a number above 0")
        for name in ("epochs", "batch_size", "checkpoint_steps"):
            if not _is_whole(values[name], 1, 1_000_000):
                raise BadInput(
                    f"{name} is {values[name]!r}", field=f"params.{name}", remedy="give a whole number, 1 or more"
                )
        return cls(tuple(hidden), values["epochs"], values["batch_size"], float(lr), values["checkpoint_steps"], seed)  # type: ignore[arg-type]


Fit = Callable[
    [Plan, list[int], np.ndarray, np.ndarray, Group, Checkpoints | None, Callable[[int, float, float], None]],
    tuple[Layers, int],
]
"""Fits layers of the given widths to scaled rows and targets (int64 classes or float32 numbers); the layers, and the step that it went on from."""


class NetworkTraining:
    """The estimator that the pipeline fits; `fitted` is the network."""

    def __init__(self, fit: Fit, classifies: bool, plan: Plan) -> None:
        self._fit, self._classifies, self._plan = fit, classifies, plan
        self._group = ALONE
        self._checkpoints: Checkpoints | None = None
        self.fitted: Any = None
        self.history: list[dict[str, float]] = []
        self.resumed_at = 0

    @property
    def classes_(self) -> Any:
        """Of the fitted network."""
        return self.fitted.classes_

    def get_params(self) -> dict[str, Any]:
        """The plan."""
        plan = self._plan
        return {
            "hidden": list(plan.hidden),
            "epochs": plan.epochs,
            "batch_size": plan.batch,
            "lr": plan.lr,
            "checkpoint_steps": plan.every,
        }

    def resume_from(self, checkpoints: Checkpoints) -> None:
        """Keep checkpoints there."""
        self._checkpoints = checkpoints

    def join(self, group: Group) -> None:
        """Train with a group."""
        self._group = group

    def fit(self, features: pd.DataFrame, target: np.ndarray) -> NetworkTraining:
        """Scale and fit."""
        values = features.to_numpy(dtype=np.float64)
        mean, spread = np.nanmean(values, axis=0), np.nanstd(values, axis=0)
        spread = np.where(spread > 0, spread, 1.0)
        rows = np.nan_to_num((values - mean) / spread, nan=0.0).astype(np.float32)
        if self._classifies:
            classes, wanted = np.unique(target, return_inverse=True)
            answers, outputs, scale, shift = wanted.astype(np.int64), len(classes), 1.0, 0.0
        else:
            shift, scale = float(np.mean(target)), float(np.std(target)) or 1.0
            answers, outputs = ((target - shift) / scale).astype(np.float32), 1
        widths = [rows.shape[1], *self._plan.hidden, outputs]

        def told(epoch: int, loss: float, seconds: float) -> None:
            self.history.append({"loss": loss, "epoch_seconds": seconds})

        layers, self.resumed_at = self._fit(self._plan, widths, rows, answers, self._group, self._checkpoints, told)
        self.fitted = (
            ClassifyingNetwork(layers, mean, spread, classes)
            if self._classifies
            else Network(layers, mean, spread, None, scale, shift)
        )
        return self

    def predict(self, features: pd.DataFrame) -> np.ndarray:
        """By the network."""
        told: np.ndarray = self.fitted.predict(features)
        return told

    def predict_proba(self, features: pd.DataFrame) -> np.ndarray:
        """By the network."""
        told: np.ndarray = self.fitted.predict_proba(features)
        return told


def _is_whole(value: object, low: int, high: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high
