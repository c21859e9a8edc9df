"""XGBoost and LightGBM as they differ: how trees are grown on, how a group is formed, what the finished estimator is."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Protocol

from maestro.core.errors import BadInput
from maestro.training.distribution import Group, exchange, lightgbm_network, xgboost_group

Rows = tuple[Any, Any]


class Booster(Protocol):
    """One library.

    Obligations: `grow` with the same arguments gives the same bytes; `state` is all that it needs of earlier chunks; scores are one a round, less is better; inside
    `group` every worker's `grow` returns the same state.
    """

    def check(self, params: Mapping[str, Any]) -> None:
        """Refuse a parameter that the estimator does not have."""
        ...

    def group(self, group: Group) -> AbstractContextManager[None]:
        """Train with the others while inside."""
        ...

    def agree(self, step: int) -> None:
        """Wait for the others; all have to go on from the same step."""
        ...

    def grow(
        self, params: Mapping[str, Any], rounds: int, seed: int, state: bytes, train: Rows, watch: Rows | None
    ) -> tuple[bytes, list[float]]:
        """Add `rounds` trees to `state` (empty: begin); the new state and each round's score on `watch`."""
        ...

    def estimator(self, params: Mapping[str, Any], state: bytes, rounds: int, train: Rows, names: list[str]) -> Any:
        """The library's scikit-learn estimator that holds the first `rounds` rounds."""
        ...


class _Known:
    _type: Callable[..., Any]

    def check(self, params: Mapping[str, Any]) -> None:
        """Refuse a parameter that the estimator does not have."""
        known = self._type().get_params()
        for name, value in params.items():
            if name not in known:
                raise BadInput(
                    f"parameter {name!r} is unknown to {self._type.__name__}",
                    field=f"params.{name}",
                    remedy=f"it has {', '.join(sorted(known))}",
                )
            if not isinstance(value, int | float | str | bool | None):
                raise BadInput(f"{name} is {value!r}", field=f"params.{name}", remedy="give a number, text or yes/no")

    def agree(self, step: int) -> None:
        """Compare where the others stand."""
        steps = exchange(self._members, step)
        if len(set(steps)) != 1:
            raise BadInput(
                f"the workers would go on from different checkpoints: {steps}", field="MAESTRO_CHECKPOINTS",
                remedy="give them one shared folder",
            )  # fmt: skip

    _members: Group


def _refused(error: Exception) -> BadInput:
    text = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
    return BadInput(f"the model cannot be fitted: {text[:300]}", field="params", remedy="correct params or data")


class XGBoost(_Known):
    """XGBoost's histogram method; classes have to be 0, 1, 2 …"""

    def __init__(self, task: str) -> None:
        from xgboost import XGBClassifier, XGBRegressor

        self._type = XGBClassifier if task == "classification" else XGBRegressor

    @contextmanager
    def group(self, group: Group) -> Iterator[None]:
        """XGBoost's collective over its own tracker."""
        self._members = group
        with xgboost_group(group):
            yield

    def agree(self, step: int) -> None:
        """By the collective itself."""
        import numpy as np
        from xgboost import collective

        most = collective.allreduce(np.array([step, -step]), collective.Op.MAX)
        if most[0] != -most[1]:
            raise BadInput(
                f"the workers would go on from different checkpoints: {-most[1]} to {most[0]}", field="MAESTRO_CHECKPOINTS",
                remedy="give them one shared folder",
            )  # fmt: skip

    def grow(
        self, params: Mapping[str, Any], rounds: int, seed: int, state: bytes, train: Rows, watch: Rows | None
    ) -> tuple[bytes, list[float]]:
        """Grow on from the raw model."""
        from xgboost import Booster as Raw

        model = self._type(
            **{"n_jobs": 1, "tree_method": "hist"} | dict(params), n_estimators=rounds, random_state=seed
        )
        try:
            model.fit(
                *train,
                eval_set=[watch] if watch else None,
                verbose=False,
                xgb_model=Raw(model_file=bytearray(state)) if state else None,
            )
        except (ValueError, TypeError) as error:
            raise _refused(error) from error
        scores: list[float] = []
        if watch:
            measured = model.evals_result()["validation_0"]
            scores = [float(value) for value in next(reversed(measured.values()))]
        return bytes(model.get_booster().save_raw("ubj")), scores

    def estimator(self, params: Mapping[str, Any], state: bytes, rounds: int, train: Rows, names: list[str]) -> Any:
        """An estimator that has loaded the trees up to the best round."""
        from xgboost import Booster as Raw

        booster = Raw(model_file=bytearray(state))
        kept = booster[: max(rounds, 1)]
        for name in ("best_iteration", "best_score"):
            kept.set_attr(**{name: None})
        model = self._type(**{"n_jobs": 1, "tree_method": "hist"} | dict(params), n_estimators=max(rounds, 1))
        model.load_model(bytearray(kept.save_raw("ubj")))
        return model


_ADDRESSES = frozenset({"machines", "local_listen_port", "time_out"})
"""Parameters that make LightGBM connect; without them it uses the connections that this process has."""


class LightGBM(_Known):
    """LightGBM; `subsample` takes effect (subsample_freq 1) unless the frequency is given."""

    def __init__(self, task: str) -> None:
        from lightgbm import LGBMClassifier, LGBMRegressor

        self._type = LGBMClassifier if task == "classification" else LGBMRegressor
        self._network: dict[str, Any] = {}
        self._connected: Any = None

    @contextmanager
    def group(self, group: Group) -> Iterator[None]:
        """LightGBM's own sockets, which the first chunk connects and the others use."""
        self._members = group
        self._network = lightgbm_network(group)
        try:
            yield
        finally:
            if self._connected is not None:
                self._connected.free_network()
            self._network, self._connected = {}, None

    def grow(
        self, params: Mapping[str, Any], rounds: int, seed: int, state: bytes, train: Rows, watch: Rows | None
    ) -> tuple[bytes, list[float]]:
        """Grow on from the model's text."""
        import lightgbm

        model = self._type(**self._settled(params, rounds, seed), **self._network)
        before = lightgbm.Booster(model_str=state.decode()) if state else None
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                model.fit(*train, eval_set=[watch] if watch else None, init_model=before)
            except (ValueError, TypeError, lightgbm.basic.LightGBMError) as error:
                raise _refused(error) from error
        scores: list[float] = []
        if watch:
            measured = next(iter(model.evals_result_.values()))
            scores = [float(value) for value in next(iter(measured.values()))]
        text = model.booster_.model_to_string(num_iteration=-1)
        if self._network and self._connected is None:
            self._connected = model.booster_
            self._network = {name: value for name, value in self._network.items() if name not in _ADDRESSES}
        return text.encode(), scores

    def estimator(self, params: Mapping[str, Any], state: bytes, rounds: int, train: Rows, names: list[str]) -> Any:
        """An estimator whose booster ends at the best round."""
        import lightgbm

        whole = lightgbm.Booster(model_str=state.decode())
        kept = lightgbm.Booster(model_str=whole.model_to_string(num_iteration=max(rounds, 1)))
        model = self._type(**self._settled(params, 1, 0))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            # fitting one round sets what scikit-learn's side remembers of the data; the trees are then those that were grown
            model.fit(*train)
        model.set_params(n_estimators=max(rounds, 1))
        model._Booster = kept
        return model

    def _settled(self, params: Mapping[str, Any], rounds: int, seed: int) -> dict[str, Any]:
        given = {"n_jobs": 1, "verbose": -1, "deterministic": True, "force_col_wise": True} | dict(params)
        if float(given.get("subsample", 1.0)) < 1.0:
            given.setdefault("subsample_freq", 1)
        return given | {"n_estimators": rounds, "random_state": seed}


BOOSTERS: dict[str, Callable[[str], Booster]] = {"xgboost": XGBoost, "lightgbm": LightGBM}
"""The libraries by name."""
