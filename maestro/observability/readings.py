"""Metrics that are read when they are asked for, such as those that stand in a database: a collector over a function that gives samples."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric

from maestro.core.metric_names import METRICS
from maestro.observability.metrics import metric_spec


@dataclass(frozen=True)
class Sample:
    """One value of a gauge or a counter; `labels` in the order of the metric's definition."""

    name: str
    labels: tuple[str, ...]
    value: float


@dataclass
class Distribution:
    """Observations of a histogram since this process began; `labels` in the order of the metric's definition.

    >>> took = Distribution("maestro_job_duration_seconds", ("classifier", "completed"))
    >>> took.observe(3.0); took.observe(1e6)
    >>> took.cumulative()[1:3], took.cumulative()[-1]
    ([('5', 1.0), ('10', 1.0)], ('+Inf', 2.0))
    """

    name: str
    labels: tuple[str, ...]
    total: float = 0.0
    counts: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.counts = self.counts or [0] * (len(metric_spec(self.name, "histogram").buckets) + 1)

    def observe(self, value: float) -> None:
        """Count one value."""
        self.counts[bisect_left(METRICS[self.name].buckets, value)] += 1
        self.total += value

    def cumulative(self) -> list[tuple[str, float]]:
        """Count at or below each bound, `+Inf` last."""
        bounds = [f"{bound:g}" for bound in METRICS[self.name].buckets]
        return [(bound, float(sum(self.counts[: place + 1]))) for place, bound in enumerate([*bounds, "+Inf"])]


class Readings:
    """A collector of prometheus_client over `read`, which is called at each scrape and names metrics of `METRICS` alone."""

    def __init__(self, read: Callable[[], Iterable[Sample | Distribution]]) -> None:
        self._read = read

    def describe(self) -> list[Metric]:
        """Nothing: what there is becomes known at the scrape."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Every family that `read` names, once."""
        families: dict[str, CounterMetricFamily | GaugeMetricFamily | HistogramMetricFamily] = {}
        for found in self._read():
            family = families.get(found.name)
            if family is None:
                family = families[found.name] = _family(found.name)
            if isinstance(family, HistogramMetricFamily) and isinstance(found, Distribution):
                family.add_metric(list(found.labels), buckets=found.cumulative(), sum_value=found.total)
            elif not isinstance(family, HistogramMetricFamily) and isinstance(found, Sample):
                family.add_metric(list(found.labels), found.value)
            else:
                raise AssertionError(f"{found.name} is no {type(found).__name__.lower()}")
        yield from families.values()


def _family(name: str) -> CounterMetricFamily | GaugeMetricFamily | HistogramMetricFamily:
    spec = METRICS[name]
    if spec.kind == "histogram":
        return HistogramMetricFamily(name, spec.help, labels=spec.labels)
    if spec.kind == "gauge":
        return GaugeMetricFamily(name, spec.help, labels=spec.labels)
    return CounterMetricFamily(name.removesuffix("_total"), spec.help, labels=spec.labels)
