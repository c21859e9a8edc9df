"""Analysis of an experiment: from recorded exposures to a verdict, and the record that promotes the winner."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Literal

import numpy as np
from scipy import stats

from maestro.ab_testing.experiment import Experiment, ExperimentMetric, Statistic
from maestro.ab_testing.exposures import Exposures, Floats, read_exposures
from maestro.ab_testing.measures import arm_figures, measure
from maestro.core.decision import DecisionRecord, Subject, Verdict
from maestro.core.errors import BadInput
from maestro.core.model import Digest, Model, Time
from maestro.decisions import sample_ratio
from maestro.decisions.comparison import Comparison, Outcome, compare

LABEL_ALPHA = 0.001
"""Level of the test that labels are missing equally often in both arms."""


class MetricResult(Model):
    """One metric: the arms' figures, the difference (challenger − champion) with its interval, and the verdict."""

    name: str
    statistic: Statistic
    champion: float | None = None
    challenger: float | None = None
    difference: float
    lower: float | None = None
    upper: float | None = None
    p_value: float | None = None
    n_champion: int
    n_challenger: int
    variance_saved: float
    verdict: Outcome
    reason: str


class ExperimentResult(Model):
    """The analysis at one look. `freeze` says why the verdict must wait; `next` is what the verdict asks for."""

    schema_: Literal["maestro.experiment-result/1"] = "maestro.experiment-result/1"
    experiment: str
    at: Time
    inputs: Digest
    mode: str
    units_champion: int
    units_challenger: int
    horizon: int
    crossed_units: int
    expected_challenger_share: float
    metrics: tuple[MetricResult, ...]
    verdict: Outcome | Literal["freeze"]
    next: Literal["promote", "roll_back", "stop", "continue", "investigate"]
    reasons: tuple[str, ...]

    @property
    def units(self) -> int:
        """Units of both arms: what the next look of a planned test is given among `earlier`."""
        return self.units_champion + self.units_challenger


def analyse(
    experiment: Experiment,
    exposures: Sequence[Path],
    *,
    at: datetime,
    rewards: Path | None = None,
    covariate: Path | None = None,
    earlier: Sequence[int] = (),
) -> ExperimentResult:
    """Analyse an experiment at the present look.

    Args:
        experiment: as declared before its first exposure.
        exposures: Parquet files of exposures.
        at: now.
        rewards: Parquet file of labels or rewards by `reward_id`; accuracy and reward need it.
        covariate: Parquet file of a covariate by `unit`, when the experiment declares one.
        earlier: units of both arms at the earlier looks (planned mode): `units` of their results.

    Raises:
        BadInput: files and declaration do not fit together; the error names the column or field.
    """
    if any(metric.needs_rewards for metric in experiment.metrics) and rewards is None:
        raise BadInput(
            "accuracy and reward need a rewards file",
            field="rewards",
            remedy="name a Parquet file with reward_id and reward",
        )
    if experiment.covariate and covariate is None:
        raise BadInput(
            "the experiment declares a covariate",
            field="covariate",
            remedy="name a Parquet file with unit and covariate",
        )
    data = read_exposures(
        exposures,
        experiment=experiment.name,
        champion=experiment.champion,
        challenger=experiment.challenger,
        rewards=rewards,
        covariate=covariate if experiment.covariate else None,
    )
    if any(n >= data.units for n in earlier) or list(earlier) != sorted(set(earlier)):
        raise BadInput(
            "earlier looks must rise and be smaller than this one",
            field="earlier",
            remedy="give the units of the earlier results",
        )
    share = _expected_share(data)
    aged = data.until((at - experiment.label_wait).timestamp())
    freezes = [*_split_off(data, share), *_labels_off(experiment, aged)]
    metrics = tuple(
        _metric(experiment, metric, aged if metric.needs_rewards else data, tuple(earlier))
        for metric in experiment.metrics
    )
    verdict, following, reasons = _decide(metrics, freezes)
    return ExperimentResult(
        experiment=experiment.name,
        at=at,
        inputs=data.digest,
        mode=experiment.mode,
        units_champion=int((~data.challenger).sum()),
        units_challenger=int(data.challenger.sum()),
        horizon=experiment.horizon,
        crossed_units=data.crossed,
        expected_challenger_share=share,
        metrics=metrics,
        verdict=verdict,
        next=following,
        reasons=reasons,
    )


def decision(
    result: ExperimentResult,
    *,
    experiment: Experiment,
    subject: Subject,
    code: str,
    actor: str,
    prev: str | None = None,
) -> DecisionRecord:
    """The record (`kind: ab.analysis`) on which the winner is promoted; whoever acts on it checks approval and policy.

    Winner → promote, harm → roll back, futile → undecided, keep going, freeze. `subject` is the challenger's version.
    """
    verdicts = {
        "winner": Verdict.PROMOTE,
        "harm": Verdict.ROLL_BACK,
        "futile": Verdict.UNDECIDED,
        "keep_going": Verdict.KEEP_GOING,
        "freeze": Verdict.FREEZE,
    }
    return DecisionRecord.seal(
        kind="ab.analysis",
        at=result.at,
        subject=subject,
        policy=experiment.content_digest(),
        code=code,
        inputs={
            "experiment": result.experiment,
            "files": result.inputs,
            "units": {"champion": result.units_champion, "challenger": result.units_challenger},
        },
        verdict=verdicts[result.verdict],
        reasons=tuple(
            metric.model_dump(include={"name", "lower", "upper", "verdict", "reason"}, exclude_none=True)
            for metric in result.metrics
        ),
        actor=actor,
        prev=prev,
    )


def _metric(
    experiment: Experiment, metric: ExperimentMetric, data: Exposures, earlier: tuple[int, ...]
) -> MetricResult:
    champion, challenger = arm_figures(metric, data)
    form = measure(metric, data, horizon=experiment.horizon, whole_looks=experiment.mode == "always_valid")
    found: Comparison = compare(form, experiment.rule(metric), earlier=earlier)
    return MetricResult(
        name=metric.name,
        statistic=metric.compared_by,
        champion=champion,
        challenger=challenger,
        difference=found.estimate,
        lower=found.lower,
        upper=found.upper,
        p_value=found.p_value,
        n_champion=found.n_champion,
        n_challenger=found.n_challenger,
        variance_saved=found.variance_saved,
        verdict=found.verdict,
        reason=found.reason,
    )


def _decide(
    metrics: tuple[MetricResult, ...], freezes: list[str]
) -> tuple[
    Outcome | Literal["freeze"], Literal["promote", "roll_back", "stop", "continue", "investigate"], tuple[str, ...]
]:
    first, *guardrails = metrics
    if freezes:
        return "freeze", "investigate", tuple(freezes)
    harmed = [metric for metric in metrics if metric.verdict == "harm"]
    if harmed:
        return "harm", "roll_back", tuple(f"{metric.name}: {metric.reason}" for metric in harmed)
    reasons = (f"{first.name}: {first.reason}", *(f"{m.name}: no harm shown, {m.reason}" for m in guardrails))
    if first.verdict == "winner":
        return "winner", "promote", reasons
    if first.verdict == "futile":
        return "futile", "stop", reasons
    return "keep_going", "continue", reasons


def _expected_share(data: Exposures) -> float:
    """The share of units the recorded propensities promise the challenger."""
    promised = np.where(data.challenger, data.propensity, 1.0 - data.propensity)
    if not np.isfinite(promised).all() or (data.propensity <= 0.0).any() or (data.propensity > 1.0).any():
        raise BadInput(
            "propensity must lie in (0, 1]",
            field="propensity",
            remedy="record the probability with which the arm was chosen",
        )
    return float(promised.mean())


def _split_off(data: Exposures, share: float) -> list[str]:
    """The sample-ratio test, revision by revision, since weights may have changed with one."""
    state = sample_ratio.SampleRatio.start()
    for revision in np.unique(data.revision):
        rows = data.revision == revision
        expected = float(np.where(data.challenger, data.propensity, 1.0 - data.propensity)[rows].mean())
        counts = np.array([(~data.challenger[rows]).sum(), data.challenger[rows].sum()], dtype=np.float64)
        if 0.0 < expected < 1.0:
            state = sample_ratio.update(state, counts, (1.0 - expected, expected))
    if not bool(state.mismatch()):
        return []
    got = float(data.challenger.mean())
    return [f"sample-ratio mismatch: the challenger got {got:.1%} of {data.units} units, {share:.1%} were promised"]


def _labels_off(experiment: Experiment, data: Exposures) -> list[str]:
    if not any(metric.needs_rewards for metric in experiment.metrics):
        return []
    labelled = np.isfinite(data.reward)
    table = np.array([[(labelled & arm).sum(), (~labelled & arm).sum()] for arm in (~data.challenger, data.challenger)])
    if (table.sum(axis=0) == 0).any() or (table.sum(axis=1) == 0).any():
        return [] if labelled.any() or not data.units else ["no exposure has a reward yet"]
    if float(stats.fisher_exact(table).pvalue) >= LABEL_ALPHA:
        return []
    shares: Floats = table[:, 0] / table.sum(axis=1)
    return [
        f"labels are missing at different rates: champion has {shares[0]:.1%} of its own, challenger {shares[1]:.1%}"
    ]
