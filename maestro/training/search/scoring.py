"""What a search maximises, and what came out best."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from maestro.clients.optuna import TrialInfo
from maestro.core.model import Model
from maestro.core.money import MICROS_PER_USD
from maestro.core.rates import load_rates
from maestro.decisions.cost import Allocation, bill, cost_aware_score
from maestro.decisions.pareto import Direction, front, select
from maestro.training.search.request import StudyRequest

STARTUP = 5
"""Trials whose median time becomes the reference when none is given."""

MINIMISED = frozenset({"seconds", "log_loss", "mae", "rmse", "mape"})
"""Objectives of which less is better."""

_LEAST_S = 1e-6


class Best(Model):
    """The trial that the request's rule takes."""

    number: int
    params: dict[str, object]
    values: dict[str, float]
    score: float | None = None
    seconds: float | None = None
    front: tuple[int, ...] = ()
    rule: str


def directions(objectives: Sequence[str], minimise: Sequence[str] = ()) -> list[Direction]:
    """Whether more or less of each objective is better; less is of those in `minimise`, too.

    >>> directions(["accuracy", "seconds"])
    ['maximize', 'minimize']
    """
    return ["minimize" if name in MINIMISED or name in minimise else "maximize" for name in objectives]


def reference_seconds(trials: Sequence[TrialInfo], given: float | None) -> tuple[float | None, bool]:
    """The seconds of a usual trial and whether they are final.

    Given, or the median of the first five trials that completed; with fewer, the median so far, which is not final.
    """
    if given is not None:
        return given, True
    seconds = [trained_seconds(trial) for trial in trials if trial.state == "complete"]
    if not seconds:
        return None, False
    return max(statistics.median(seconds[:STARTUP]), _LEAST_S), len(seconds) >= STARTUP


def seconds_per_dollar(cores: float = 1.0) -> float:
    """How long a trial's cores run for a dollar: the reference by which seconds become money."""
    return float(1 / (load_rates().micros(core_seconds=1) / MICROS_PER_USD)) / cores


def trial_micros(seconds: float, cores: float = 1.0) -> int:
    """What a trial costs that holds its cores for so many seconds."""
    return bill(Allocation(wall_s=seconds, cores=cores), load_rates()).total


def spent_micros(trial: TrialInfo) -> int:
    """What a trial was billed: for as long as its process held its core."""
    billed = trial.attributes.get("cost_usd_micros")
    if billed is not None:
        return int(billed)
    return trial_micros(trained_seconds(trial)) if trial.state in {"complete", "pruned"} else 0


def trained_seconds(trial: TrialInfo) -> float:
    """The seconds that the trial spent fitting."""
    return max(float(trial.attributes.get("seconds", trial.seconds or 0.0)), _LEAST_S)


def best(trials: Sequence[TrialInfo], request: StudyRequest, reference_s: float | None) -> Best | None:
    """The best completed trial: judged with the frozen reference, or selected from the front; None while none has completed."""
    done = [trial for trial in trials if trial.state == "complete" and trial.values is not None]
    if not done:
        return None
    if len(request.objectives) > 1:
        table = [list(trial.values or ()) for trial in done]
        sides = directions(request.objectives, request.minimise)
        taken = select(
            table, sides, request.selection_strategy,
            weights=request.selection_weights, tolerance=request.selection_tolerance,
        )  # fmt: skip
        chosen = done[taken]
        members = tuple(done[at].number for at in front(table, sides))
        return Best(
            number=chosen.number, params=dict(chosen.params), values=dict(zip(request.objectives, chosen.values or (), strict=True)),
            seconds=trained_seconds(chosen), front=members, rule=f"{request.selection_strategy} of {len(members)} on the front",
        )  # fmt: skip
    sign = -1.0 if directions(request.objectives, request.minimise) == ["minimize"] else 1.0

    def judged(trial: TrialInfo) -> float:
        raw = sign * raw_score(trial, request)
        if request.cost_weight == 0.0 or reference_s is None:
            return raw
        return cost_aware_score(
            raw, trained_seconds(trial), cost_weight=request.cost_weight, reference_seconds=reference_s
        )

    chosen = max(done, key=lambda trial: (judged(trial), -trial.number))
    rule = f"{'least' if sign < 0 else 'greatest'} {request.objectives[0]}"
    if request.cost_weight > 0.0:
        rule = f"{request.objectives[0]} − {request.cost_weight:g} × seconds ÷ {reference_s:.4g} s"
        if request.cost_unit == "usd":
            rule = f"{request.objectives[0]} − {request.cost_weight:g} × dollars"
    return Best(
        number=chosen.number, params=dict(chosen.params), values={request.objectives[0]: raw_score(chosen, request)},
        score=judged(chosen), seconds=trained_seconds(chosen), rule=rule,
    )  # fmt: skip


def raw_score(trial: TrialInfo, request: StudyRequest) -> float:
    """The first objective before any cost was taken off."""
    own = (trial.values or (0.0,))[0]
    return float(trial.attributes.get(request.objectives[0], own))
