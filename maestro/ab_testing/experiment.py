"""What is compared, on which metric, for how long: the experiment, declared before its first exposure."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Literal, Self

import yaml
from pydantic import Field, ValidationError, model_validator

from maestro.core.errors import BadInput, Malformed, NotFound, from_validation
from maestro.core.model import Model, Name
from maestro.core.policy import Duration
from maestro.decisions import group_sequential, sample_size
from maestro.decisions.comparison import Mode, Rule
from maestro.decisions.sample_size import SampleSize

MetricName = Literal["accuracy", "error_rate", "latency", "throughput", "reward"]
Statistic = Literal["proportion", "mean", "quantile"]

_STATISTIC: dict[str, Statistic] = {
    "accuracy": "proportion",
    "error_rate": "proportion",
    "latency": "quantile",
    "throughput": "mean",
    "reward": "mean",
}


class ExperimentMetric(Model):
    """One metric. `accuracy` is the share of right answers, `error_rate` of failed ones, `latency` seconds, `throughput`
    good answers a busy second, `reward` whatever the rewards file holds.

    `minimum_effect` is the smallest difference worth having, in the metric's unit.
    """

    name: MetricName
    minimum_effect: float = Field(gt=0.0)
    statistic: Literal["mean", "quantile"] | None = Field(
        default=None, description="of latency: a quantile unless mean is asked for"
    )
    quantile: float = Field(default=0.95, gt=0.0, lt=1.0)

    @model_validator(mode="after")
    def _statistic_fits(self) -> Self:
        if self.statistic is not None and self.name != "latency":
            raise ValueError(
                f"statistic can be chosen for latency only; {self.name} is compared by {_STATISTIC[self.name]}"
            )
        return self

    @property
    def compared_by(self) -> Statistic:
        """Proportion, mean or quantile."""
        return self.statistic or _STATISTIC[self.name]

    @property
    def higher_is_better(self) -> bool:
        """Direction."""
        return self.name not in {"error_rate", "latency"}

    @property
    def needs_rewards(self) -> bool:
        """Whether it is measured on labels or rewards that arrive later."""
        return self.name in {"accuracy", "reward"}


class Experiment(Model):
    """A declared experiment (`kind: Experiment`).

    The first metric decides; the others are guardrails that must show no harm. `alpha` is divided among the guardrails.
    """

    api_version: Literal["maestro/v1"] = Field(alias="apiVersion")
    kind: Literal["Experiment"]
    name: Name
    champion: Name = Field(description="arm that serves today")
    challenger: Name
    metrics: tuple[ExperimentMetric, ...] = Field(min_length=1)
    mode: Mode = "always_valid"
    horizon: int = Field(ge=2, description="units of both arms together")
    looks: int = Field(default=20, ge=1, le=1000, description="planned mode: how often it is analysed")
    alpha: float = Field(default=0.05, gt=0.0, lt=0.5)
    power: float = Field(default=0.8, gt=0.0, lt=1.0)
    futility: bool = Field(
        default=True, description="planned mode: stop when winning has become unlikely (non-binding)"
    )
    label_wait: Duration = Field(default=timedelta(0), description="age an exposure needs before its reward counts")
    covariate: bool = Field(default=False, description="adjust means for a covariate from before the experiment")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.champion == self.challenger:
            raise ValueError("challenger must be another arm than champion")
        names = [metric.name for metric in self.metrics]
        if len(set(names)) != len(names):
            raise ValueError("metrics: names must differ")
        if self.power <= self.alpha / 2:
            raise ValueError("power must be above alpha / 2")
        return self

    def rule(self, metric: ExperimentMetric) -> Rule:
        """How this metric is compared: the first at alpha, each guardrail at its share of alpha."""
        guardrails = len(self.metrics) - 1
        alpha = self.alpha if metric == self.metrics[0] else self.alpha / guardrails
        plan = None
        if self.mode == "planned":
            futility = group_sequential.Spending() if self.futility and metric == self.metrics[0] else None
            plan = group_sequential.plan(alpha=alpha, power=self.power, looks=self.looks, futility=futility)
        return Rule(
            mode=self.mode,
            horizon=self.horizon,
            minimum_effect=metric.minimum_effect,
            higher_is_better=metric.higher_is_better,
            alpha=alpha,
            plan=plan,
        )

    def sample_size(
        self, *, baseline: float, sd: float | None = None, challenger_share: float = 0.5, variance_saved: float = 0.0
    ) -> SampleSize:
        """Units needed to detect the first metric's `minimum_effect` with this mode, alpha and power.

        Args:
            baseline: the champion's rate, for a proportion; otherwise not used.
            sd: standard deviation of a unit, for a mean.
            challenger_share: share of units in the challenger's arm.
            variance_saved: share of the variance that the covariate removes.

        Raises:
            BadInput: a number is out of range, or the metric is a quantile, whose spread cannot be planned from an sd.
        """
        try:
            return self._sample_size(baseline, sd, challenger_share, variance_saved)
        except ValueError as error:
            raise BadInput(
                f"no sample size: {error}",
                field="metrics.0",
                remedy="correct the experiment file or the numbers given with it",
            ) from error

    def _sample_size(
        self, baseline: float, sd: float | None, challenger_share: float, variance_saved: float
    ) -> SampleSize:
        metric = self.metrics[0]
        if metric.compared_by == "proportion":
            better = metric.minimum_effect if metric.higher_is_better else -metric.minimum_effect
            return sample_size.for_proportions(
                baseline,
                baseline + better,
                alpha=self.alpha,
                power=self.power,
                challenger_share=challenger_share,
                mode=self.mode,
                looks=self.looks,
            )
        if metric.compared_by == "quantile" or sd is None:
            raise ValueError("sd: the standard deviation of a mean is needed; quantiles cannot be planned from one")
        return sample_size.for_means(
            metric.minimum_effect,
            sd,
            alpha=self.alpha,
            power=self.power,
            challenger_share=challenger_share,
            mode=self.mode,
            looks=self.looks,
            variance_saved=variance_saved,
        )


def load_experiment(path: Path) -> Experiment:
    """Read an experiment file.

    Raises:
        NotFound: there is no such file.
        Malformed: it is not YAML.
        BadInput: a field is unknown, missing or wrong; the error names it.
    """
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise NotFound(
            f"there is no experiment file {path}", field="experiment", remedy="name an existing file"
        ) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise Malformed(f"{path} is not YAML: {error}", field="experiment", remedy="correct the file") from error
    try:
        return Experiment.model_validate(document)
    except ValidationError as error:
        raise from_validation(error, f"experiment file {path}") from error
