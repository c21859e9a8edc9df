"""Optuna's samplers by name, and the one of ours."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from maestro.clients.optuna import FACTS, quiet
from maestro.core.errors import BadInput

if TYPE_CHECKING:
    from optuna import Study
    from optuna.samplers import BaseSampler
    from optuna.trial import FrozenTrial

SAMPLERS = ("frugal_tpe", "tpe", "multivariate_tpe", "gp", "cmaes", "random", "grid")
NEEDS = {"gp": ("torch", "torch"), "cmaes": ("cmaes", "cmaes")}
"""Samplers that need a package: the module and what installs it."""


def check_sampler(name: str, dimensions: int = 2, objectives: int = 1) -> None:
    """Refuse a sampler that does not exist or cannot work here, before anything is started.

    Args:
        name: the sampler.
        dimensions: how many numeric dimensions are searched.
        objectives: how many things are searched for at once.

    Raises:
        BadInput: it is unknown, its package is not installed, or it cannot search so few dimensions or for so many objectives.
    """
    if name not in SAMPLERS:
        raise BadInput(f"sampler {name!r} is unknown", field="sampler", remedy=f"choose one of {', '.join(SAMPLERS)}")
    if name == "cmaes" and objectives > 1:
        raise BadInput(
            "sampler cmaes searches for one objective", field="sampler", remedy="choose tpe, or give one objective"
        )
    module, package = NEEDS.get(name, ("", ""))
    if module and importlib.util.find_spec(module) is None:
        raise BadInput(
            f"sampler {name} needs the package {package}, which is not installed", field="sampler",
            remedy=f"pip install {package}, or choose multivariate_tpe",
        )  # fmt: skip
    if name == "cmaes" and dimensions < 2:
        raise BadInput(
            "sampler cmaes needs two numeric dimensions or more", field="sampler", remedy="choose tpe, or search more"
        )


def sampler(
    name: str, *, seed: int | None, grid: Mapping[str, Sequence[Any]] | None = None, startup: int = 10, dimensions: int = 2,
    steps: int = 1, objectives: int = 1,
) -> BaseSampler:  # fmt: skip
    """A sampler by name; `grid` needs the points of every parameter.

    `tpe` chooses as Optuna does (jointly for one objective, each parameter by itself for several), `multivariate_tpe` always jointly, `frugal_tpe`
    the cheap first (`maestro.clients.optuna_frugal`), for which it is told how many `steps` a whole trial has.

    Raises:
        BadInput: as `check_sampler`.
    """
    check_sampler(name, dimensions, objectives)
    with quiet():
        from optuna import samplers

        if name == "random":
            return samplers.RandomSampler(seed=seed)
        if name == "grid":
            return _grid(seed, {key: list(values) for key, values in (grid or {}).items()})
        if name == "frugal_tpe":
            from maestro.clients.optuna_frugal import FrugalTPE

            return FrugalTPE(seed, startup, lambda trial: whole_seconds(trial, steps))
        if name == "gp":
            return samplers.GPSampler(seed=seed, n_startup_trials=startup)
        if name == "cmaes":
            return samplers.CmaEsSampler(seed=seed, n_startup_trials=startup, warn_independent_sampling=False)
        together = True if name == "multivariate_tpe" else None
        return samplers.TPESampler(seed=seed, n_startup_trials=startup, multivariate=together)


def whole_seconds(trial: FrozenTrial, steps: int) -> float | None:
    """The seconds that a finished trial would have trained for, had it not been ended early."""
    facts = trial.user_attrs.get(FACTS, {})
    seconds, done = facts.get("seconds"), len(facts.get("steps", ()))
    return None if seconds is None else float(seconds) * (steps / done if done else 1.0)


def _grid(seed: int | None, points: dict[str, list[Any]]) -> BaseSampler:
    from optuna.samplers import GridSampler

    class Grid(GridSampler):
        """Optuna's, without the end of the study by itself: that works inside its own loop alone."""

        def after_trial(self, *_: Any) -> None:
            """Whether the grid is done is asked by `is_exhausted`."""

    return Grid(points, seed=seed)


def is_exhausted(study: Study) -> bool:
    """Whether a grid has been tried to its end; false for every other sampler."""
    from optuna.samplers import GridSampler

    return isinstance(study.sampler, GridSampler) and study.sampler.is_exhausted(study)
