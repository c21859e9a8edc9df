"""Gradient boosting by XGBoost and LightGBM: early stopping, checkpoints, and training in a group, behind scikit-learn's fit and predict.

Trees are grown in chunks of `checkpoint_rounds`. Each chunk starts from the serialised model of the one before it, with a seed of its own, whether or not the process was killed in
between: so a training that was resumed gives the same model, bit for bit, as one that was not. Early stopping looks at rows held out of the training side, which every
worker of a group judges alike; the model that is kept ends at its best round.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from maestro.core.errors import BadInput
from maestro.training.checkpoint import Checkpoints
from maestro.training.distribution import ALONE, Group
from maestro.training.models.boosters import BOOSTERS, Booster
from maestro.training.models.parameters import RESERVED

if TYPE_CHECKING:
    import pandas as pd

Task = Literal["classification", "regression"]
OWN = {"early_stopping_rounds": 20, "validation_share": 0.15, "checkpoint_rounds": 50}
"""Parameters of the training, with their defaults; early_stopping_rounds 0 grows every tree."""


class Boosted:
    """One training by boosting; `fitted` is the library's own scikit-learn estimator, which is what is saved.

    Args:
        library: xgboost or lightgbm.
        task: what is predicted.
        params: of the library's estimator, by its own names, and those of `OWN`.
        seed: the only source of randomness.

    Raises:
        BadInput: a parameter is unknown or out of range; it is named.
    """

    def __init__(self, library: str, task: Task, params: Mapping[str, Any], seed: int) -> None:
        self.booster: Booster = BOOSTERS[library](task)
        given = {name: value for name, value in params.items() if name not in RESERVED}
        self._patience = _whole(given, "early_stopping_rounds", 0, 10_000)
        self._interval = _whole(given, "checkpoint_rounds", 1, 100_000)
        self._share = _share(given)
        self._params = {name: value for name, value in given.items() if name not in OWN}
        self._rounds = _whole(
            self._params | {"n_estimators": self._params.get("n_estimators", 200)}, "n_estimators", 1, 100_000
        )
        self._params.pop("n_estimators", None)
        self._seed = seed
        self._task = task
        self.booster.check(self._params)
        self._group = ALONE
        self._checkpoints: Checkpoints | None = None
        self.fitted: Any = None
        self.rounds = 0
        self.resumed_at = 0

    @property
    def classes_(self) -> Any:
        """The classes of the fitted model."""
        return self.fitted.classes_

    def get_params(self) -> dict[str, Any]:
        """What the training ended up with."""
        return self._params | {
            "n_estimators": self._rounds, "best_iteration": self.rounds, "early_stopping_rounds": self._patience,
            "validation_share": self._share, "checkpoint_rounds": self._interval,
        }  # fmt: skip

    def resume_from(self, checkpoints: Checkpoints) -> None:
        """Keep checkpoints there, and go on from the newest."""
        self._checkpoints = checkpoints

    def join(self, group: Group) -> None:
        """Train with a group: `fit` is given all rows by every worker and takes its own share of them."""
        self._group = group

    def fit(self, features: pd.DataFrame, target: np.ndarray) -> Boosted:
        """Grow trees until they stop helping, or all of them.

        Raises:
            BadInput: the library refuses the data; its reason is given.
        """
        held = self._held_out(np.asarray(target))
        rest = ~held
        if not rest.any():
            raise BadInput("no row is left to train on", field="params.validation_share", remedy="lower it")
        mine = np.flatnonzero(rest)[self._group.rank :: self._group.world]
        values = features.to_numpy(dtype=np.float64)
        train = (values[mine], target[mine])
        watch = (values[held], target[held]) if held.any() else None
        with self.booster.group(self._group):
            self._grow(train, watch, list(features.columns))
        if self._checkpoints is not None:
            self._checkpoints.clear()
        return self

    def _grow(self, train: tuple[Any, Any], watch: tuple[Any, Any] | None, names: list[str]) -> None:
        state, done, best, best_at = b"", 0, float("inf"), 0
        saved = self._checkpoints.latest() if self._checkpoints is not None else None
        if saved is not None:
            head, _, state = saved.state.partition(b"\n")
            text = head.decode().split()
            done, best, best_at = saved.step, float.fromhex(text[0]), int(text[1])
        self.resumed_at = done
        if self._group.world > 1:
            # every worker goes on from where rank 0 does: they share the folder, and nobody writes before all have read
            self.booster.agree(done)
        stops = watch is not None and self._patience > 0
        while done < self._rounds and not (stops and done and done - best_at >= self._patience):
            chunk = min(self._interval, self._rounds - done)
            state, scores = self.booster.grow(self._params, chunk, self._seed + done, state, train, watch)
            for at, score in enumerate(scores, start=done + 1):
                if score < best:
                    best, best_at = score, at
            done += chunk
            if self._checkpoints is not None and done < self._rounds:
                self._checkpoints.save(done, f"{best.hex()} {best_at}\n".encode() + state)
        self.rounds = best_at if stops else done
        self.fitted = self.booster.estimator(self._params, state, self.rounds, train, names)

    def predict(self, features: pd.DataFrame) -> Any:
        """Labels or numbers."""
        return self.fitted.predict(features.to_numpy(dtype=np.float64))

    def predict_proba(self, features: pd.DataFrame) -> Any:
        """Probabilities of the classes (rows × classes)."""
        return self.fitted.predict_proba(features.to_numpy(dtype=np.float64))

    def _held_out(self, target: np.ndarray) -> np.ndarray:
        held = np.zeros(len(target), dtype=bool)
        if not self._patience or len(target) < 20:
            return held
        rng = np.random.default_rng(self._seed)
        if self._task == "regression":
            held[rng.permutation(len(target))[: int(len(target) * self._share)]] = True
            return held
        for value in np.unique(target):
            own = np.flatnonzero(target == value)
            held[rng.permutation(own)[: int(len(own) * self._share)]] = True
        return held


def _whole(params: Mapping[str, Any], name: str, low: int, high: int) -> int:
    value = params.get(name, OWN.get(name))
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise BadInput(
            f"{name} is {value!r}", field=f"params.{name}", remedy=f"give a whole number from {low} to {high}"
        )
    return value


def _share(params: Mapping[str, Any]) -> float:
    value = params.get("validation_share", OWN["validation_share"])
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0.0 < value < 1.0:
        raise BadInput(
            f"validation_share is {value!r}", field="params.validation_share", remedy="give a share between 0 and 1"
        )
    return float(value)
