"""The loop of a search: asks for trials, starts them while time, money and sense allow it, judges their steps, tells their ends."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from maestro.clients.optuna import Studies, TrialInfo
from maestro.clients.optuna_places import Full
from maestro.clients.optuna_samplers import is_exhausted
from maestro.core.errors import BadInput
from maestro.core.money import from_usd
from maestro.core.seams import Progress
from maestro.decisions.cost import cost_aware_score
from maestro.decisions.search_budget import Budget
from maestro.decisions.search_pruning import KEEP, hopeless, outrun
from maestro.decisions.search_stopping import StoppingRule, should_stop
from maestro.training.search._trials import Begun, Ended, Step, Trials
from maestro.training.search.limits import Limits, limits_in
from maestro.training.search.recorder import Recorder
from maestro.training.search.request import StudyRequest
from maestro.training.search.result import REFERENCE
from maestro.training.search.scoring import (
    directions,
    raw_score,
    reference_seconds,
    seconds_per_dollar,
    spent_micros,
    trained_seconds,
    trial_micros,
)

if TYPE_CHECKING:
    from optuna import Study, Trial

_LOOK_S = 0.5


@dataclass
class _Running:
    trial: Trial
    limits: Limits
    steps: list[dict[str, float]] = field(default_factory=list)
    ended_early: bool = False


class Search:
    """One run of the loop; `stopped` says why it ended before its trials were used up."""

    def __init__(
        self,
        studies: Studies,
        request: StudyRequest,
        progress: Progress,
        study: Study,
        recorder: Recorder,
        before: list[TrialInfo],
        limits: Limits,
        unknown: Limits,
    ) -> None:
        self.stopped: str | None = None
        done = [trial for trial in before if trial.state in {"complete", "pruned"}]
        self.left = request.n_trials - len(done)
        self._progress, self._request, self._study, self._recorder = progress, request, study, recorder
        self._studies, self._space = studies, request.search_space
        self._count = len(done)
        self._trials = done
        self._limits, self._unknown = limits, unknown
        self._worst = limits.worst_micros
        total = from_usd(request.budget_usd) if request.budget_usd is not None else None
        self._budget = Budget(total, spent=sum(map(spent_micros, before)))
        self._sides: Any = directions(request.objectives, request.minimise)
        self._deadline = time.monotonic() + request.timeout_s if request.timeout_s is not None else float("inf")
        self._running: dict[int, _Running] = {}
        self._failures = 0
        progress.update(min(self._count / request.n_trials, 1.0), f"{self._count} of {request.n_trials} trials")

    def run(self, pool: Trials, found: Sequence[Trial]) -> None:
        """Search to the end, going on with the trials that an earlier process left running."""
        try:
            self._resume(pool, found)
            self._loop(pool)
        except BaseException:
            pool.drop()
            for running in self._running.values():
                # what is cut off is tried again when the study is resumed, and booked at its worst until then
                self._studies.tell(self._study, running.trial, "fail", None, running.limits.lost())
            raise

    def _resume(self, pool: Trials, found: Sequence[Trial]) -> None:
        if not pool.outlives:
            return
        for trial in found:
            begun = limits_in(trial.user_attrs, self._unknown)
            # begun by another runner, perhaps; it is this one that bills it
            limits = replace(begun, grace_s=max(begun.grace_s, pool.grace_s))
            self._running[trial.number] = _Running(trial, limits)
            if self._budget.reserve(trial.number, limits.worst_micros):
                self.left -= 1
                continue
            # the budget has become less since: what may exceed it does not go on, and nobody knows what it has cost
            self._budget.spent += limits.worst_micros
            self._studies.tell(self._study, self._running.pop(trial.number).trial, "fail", None, limits.lost())
        fixed = self._space.fixed
        pool.resume({
            number: Begun(fixed | running.trial.params, running.limits.timeout_s, running.limits.cores)
            for number, running in self._running.items()
        })  # fmt: skip

    def _loop(self, pool: Trials) -> None:
        while True:
            while self._may_start() and self._start(pool):
                pass
            if not self._running:
                return
            for event in pool.wait(_LOOK_S):
                if event.number not in self._running:
                    continue
                if isinstance(event, Step):
                    go = self._judge(self._running[event.number], event)
                    if self._request.pruner != "none" and event.step < self._request.folds:
                        pool.answer(event.number, go=go)
                else:
                    self._end(event)

    def _may_start(self) -> bool:
        request = self._request
        if self.stopped or self.left <= 0 or len(self._running) >= request.n_jobs:
            return False
        if time.monotonic() >= self._deadline:
            self.stopped = f"the time budget of {request.timeout_s:g} s is over"
        elif is_exhausted(self._study):
            self.stopped = "the grid has been tried to its end"
        elif self._budget.free is not None and self._worst > self._budget.free:
            if self._running:
                # what runs may cost less than was set aside for it
                return False
            self.stopped = f"the budget is spent: {self._budget.free} micro-dollars are left, the next trial may cost {self._worst}"
        return self.stopped is None

    def _start(self, pool: Trials) -> bool:
        """Start a trial; False where all that are left are another process's, for now."""
        try:
            trial, params = self._studies.ask(
                self._study,
                self._space.suggest,
                at_most=self._request.n_trials,
                attributes=self._limits.attributes(),
            )
        except Full:
            if self._given_back(pool):
                return True
            # else others have ended them: the study is done
            if not self._running and any(each.state == "running" for each in self._studies.trials(self._study)):
                self.stopped = "the trials that are left are run by another process"
            return False
        if not self._budget.reserve(trial.number, self._worst):
            raise AssertionError("a trial was started that the budget has no room for")
        self.left -= 1
        self._running[trial.number] = _Running(trial, self._limits)
        pool.start(trial.number, params, self._limits.timeout_s)
        return True

    def _given_back(self, pool: Trials) -> bool:
        """Whether another search has died since and its trials are there to be tried again."""
        if pool.outlives or self._budget.total is not None:
            # its trials may still run, or be more than the budget has room for: both are for a search that begins
            return False
        return self._studies.recover(self._study, self._lost) > 0

    def _lost(self, attributes: Mapping[str, Any]) -> dict[str, Any]:
        return limits_in(attributes, self._unknown).lost()

    def _judge(self, running: _Running, step: Step) -> bool:
        """Note a step; returns whether the trial goes on."""
        request = self._request
        means = step.means | {"seconds": step.seconds}
        unknown = [name for name in request.objectives if name not in means]
        if unknown:
            raise BadInput(
                f"objective {unknown[0]!r} is not a metric of {self._space.model_type}", field="objectives",
                remedy=f"choose from {', '.join(means)}",
            )  # fmt: skip
        running.steps.append(means)
        if request.pruner == "none" or step.step >= request.folds:
            return True
        if len(request.objectives) == 1 and request.pruner == "race":
            go = not self._is_outrun(running.trial, means, step.step)
        elif len(request.objectives) == 1 and request.cost_weight == 0.0:
            go = not self._studies.report(running.trial, means[request.objectives[0]], step.step)
        else:
            others = [self._at(trial.attributes.get("steps", ()), step.step) for trial in self._trials]
            own = self._weighed(means, step.step)
            go = not hopeless(own, [row for row in others if row is not None], self._sides, KEEP[request.pruner])
        running.ended_early = not go
        return go

    def _is_outrun(self, trial: Trial, means: dict[str, float], step: int) -> bool:
        sign = 1.0 if self._sides == ["maximize"] else -1.0
        (own,) = self._weighed(means, step)
        # the sampler learns from trials that were ended, too
        self._studies.report(trial, own, step)
        folds = self._request.folds
        done = [told.attributes.get("steps", ()) for told in self._trials if told.state == "complete"]
        paths = [
            [sign * self._weighed(steps[at], at + 1)[0] for at in range(folds)] for steps in done if len(steps) == folds
        ]
        return outrun(sign * own, step, paths)

    def _at(self, steps: Any, step: int) -> list[float] | None:
        return self._weighed(steps[step - 1], step) if len(steps) >= step else None

    def _weighed(self, means: dict[str, float], step: int) -> list[float]:
        """The objectives at a step; with a cost weight the score less the cost that the whole trial is heading for."""
        request = self._request
        values = [means[name] for name in request.objectives]
        if request.cost_weight == 0.0:
            return values
        return [self._costed(values[0], means["seconds"] * request.folds / step)]

    def _costed(self, value: float, seconds: float) -> float:
        reference, final = reference_of(self._study, self._trials, self._request)
        if final and reference is not None and self._study.user_attrs.get(REFERENCE) is None:
            self._study.set_user_attr(REFERENCE, reference)
        # until it is frozen a trial is judged against those before it, the first against itself; `best` judges all by the frozen one
        by = reference if reference is not None else max(seconds, 1e-6)
        # less is better: the cost is added to what is minimised
        sign = 1.0 if self._sides == ["maximize"] else -1.0
        return sign * cost_aware_score(
            sign * value, seconds, cost_weight=self._request.cost_weight, reference_seconds=by
        )

    def _end(self, ended: Ended) -> None:
        running = self._running.pop(ended.number)
        request = self._request
        micros = trial_micros(ended.wall_s, running.limits.cores)
        self._budget.settle(ended.number, micros)
        # a job whose log was not read has told its result alone
        facts: dict[str, Any] = dict(running.steps[-1] if running.steps else ended.metrics or {})
        facts |= {
            "cost_usd_micros": micros, "wall_s": round(ended.wall_s, 4), "cpu_s": round(ended.cpu_s, 4),
            "peak_memory_bytes": ended.peak_memory_bytes,
            "steps": [{name: step[name] for name in {*request.objectives, "seconds"}} for step in running.steps],
        }  # fmt: skip
        if ended.timed_out:
            facts["timed_out"] = True
            facts.setdefault("seconds", ended.wall_s)
        if ended.failed:
            facts["failed"] = ended.failed[:1000]
        values = None
        if ended.metrics is not None:
            values = [ended.metrics[name] for name in request.objectives]
            if request.cost_weight > 0.0:
                values = [self._costed(values[0], ended.metrics["seconds"])]
        state: Any = (
            "complete" if values is not None else "pruned" if running.ended_early or ended.timed_out else "fail"
        )
        told = self._studies.tell(self._study, running.trial, state, values, facts)
        self._recorder.add(told)
        if ended.problem is not None:
            from maestro.training.child import problem_error

            raise problem_error(ended.problem)
        if state == "fail":
            self._failures += 1
        else:
            self._trials.append(told)
        self._count += 1
        self._progress.update(
            min(self._count / request.n_trials, 0.99), f"trial {told.number}: {_words(told, request)}"
        )
        if state == "complete":
            self._consider()

    def _consider(self) -> None:
        """End the search once what the next trial may gain is worth less than what it costs."""
        request = self._request
        if request.value_per_point_usd is None:
            return
        done = [trial for trial in self._trials if trial.state == "complete"]
        sign = 1.0 if self._sides == ["maximize"] else -1.0
        rule = StoppingRule(value_per_point=from_usd(request.value_per_point_usd))
        verdict = should_stop(
            [sign * raw_score(trial, request) for trial in done],
            [spent_micros(trial) for trial in done],
            rule,
            trials_left=self.left,
        )
        if verdict.stop:
            self.stopped = verdict.reason


def reference_of(study: Study, trials: list[TrialInfo], request: StudyRequest) -> tuple[float | None, bool]:
    """The seconds that count as one unit of cost, and whether they are final: frozen, given, money's, or the median so far."""
    frozen = study.user_attrs.get(REFERENCE)
    if frozen is not None:
        return float(frozen), True
    if request.cost_unit == "usd":
        return seconds_per_dollar(request.trial_cpu), True
    return reference_seconds(trials, request.cost_reference_s)


def _words(trial: TrialInfo, request: StudyRequest) -> str:
    if trial.state != "complete":
        return trial.state
    return f"{request.objectives[0]} {raw_score(trial, request):.4g} in {trained_seconds(trial):.2g} s"
