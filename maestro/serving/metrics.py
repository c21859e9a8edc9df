"""The server's counters. They are plain integers that the event loop raises; the exporter and the evidence read the same ones."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric

from maestro.core.metric_names import LATENCY_BUCKETS, METRICS

OUTCOMES = ("ok", "error", "timeout", "contract")
"""What an arm's own first attempt came to."""

_ROW_BUCKETS = METRICS["maestro_inference_batch_size"].buckets


class Histogram:
    """Counts by bucket and a sum."""

    __slots__ = ("_bounds", "counts", "total")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self._bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, value: float) -> None:
        """Count one value."""
        self.counts[bisect_left(self._bounds, value)] += 1
        self.total += value

    def cumulative(self) -> dict[str, int]:
        """Count at or below each bound, as text, `+Inf` last.

        >>> histogram = Histogram((0.1, 1.0)); histogram.observe(0.1); histogram.observe(7)
        >>> histogram.cumulative()
        {'0.1': 1, '1.0': 1, '+Inf': 2}
        """
        result: dict[str, int] = {}
        running = 0
        for bound, count in zip((*self._bounds, None), self.counts, strict=True):
            running += count
            result["+Inf" if bound is None else str(float(bound))] = running
        return result


class ArmCounters:
    """One arm's first attempts."""

    __slots__ = ("latency", "outcomes")

    def __init__(self) -> None:
        self.outcomes: dict[str, int] = dict.fromkeys(OUTCOMES, 0)
        self.latency = Histogram(LATENCY_BUCKETS)

    def observe(self, outcome: str, seconds: float) -> None:
        """Count one first attempt."""
        self.outcomes[outcome] += 1
        self.latency.observe(seconds)


class ServerMetrics:
    """Everything that `/metrics` shows, under the names of `maestro.core.metric_names` and no other."""

    def __init__(self, *, unsigned_allowed: bool = False) -> None:
        self.arms: dict[tuple[str, str, str], ArmCounters] = {}
        self.rows: dict[str, Histogram] = {}
        self.response_latency = Histogram(LATENCY_BUCKETS)
        self.responses: Counter[str] = Counter()
        self.swaps: Counter[str] = Counter({"ok": 0, "refused": 0})
        self.labels: Counter[tuple[str, str, str]] = Counter()
        self.out_of_range: Counter[tuple[str, str]] = Counter()
        self.inflight = 0
        self.unsigned_allowed = unsigned_allowed
        self.dropped: Callable[[], int] = lambda: 0
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)

    def arm(self, model: str, version: str, arm: str) -> ArmCounters:
        """The counters of one arm, made on first sight."""
        return self.arms.setdefault((model, version, arm), ArmCounters())

    def batch(self, model: str, rows: int) -> None:
        """Count the rows of one request."""
        histogram = self.rows.get(model)
        if histogram is None:
            histogram = self.rows[model] = Histogram(_ROW_BUCKETS)
        histogram.observe(rows)

    def response(self, status: int, seconds: float) -> None:
        """Count one answer to a caller."""
        self.responses[str(status)] += 1
        self.response_latency.observe(seconds)

    def text(self) -> bytes:
        """The Prometheus exposition."""
        return generate_latest(self._registry)

    def collect(self) -> Iterator[Metric]:
        """What prometheus_client asks a collector for."""
        requests = _counter("maestro_inference_requests_total")
        latency = _histogram("maestro_inference_latency_seconds")
        for labels, counters in list(self.arms.items()):
            for outcome, count in counters.outcomes.items():
                requests.add_metric([*labels, outcome], count)
            _add(latency, list(labels), counters.latency)
        sizes = _histogram("maestro_inference_batch_size")
        for model, histogram in list(self.rows.items()):
            _add(sizes, [model], histogram)
        answered = _histogram("maestro_response_latency_seconds")
        _add(answered, [], self.response_latency)
        yield from (requests, latency, sizes, answered)
        yield from (
            _gauge("maestro_inference_inflight", self.inflight),
            _gauge("maestro_serving_unsigned", int(self.unsigned_allowed)),
            _counted("maestro_responses_total", [((key,), value) for key, value in self.responses.items()]),
            _counted("maestro_model_swaps_total", [((key,), value) for key, value in self.swaps.items()]),
            _counted("maestro_labels_total", self.labels.items()),
            _counted("maestro_inference_out_of_range_total", self.out_of_range.items()),
            _counted("maestro_exposures_dropped_total", [((), self.dropped())]),
        )


def _counter(name: str) -> CounterMetricFamily:
    spec = METRICS[name]
    return CounterMetricFamily(spec.name.removesuffix("_total"), spec.help, labels=spec.labels)


def _counted(name: str, values: Iterable[tuple[tuple[str, ...], int]]) -> CounterMetricFamily:
    family = _counter(name)
    for labels, value in list(values):
        family.add_metric(list(labels), value)
    return family


def _gauge(name: str, value: float) -> GaugeMetricFamily:
    spec = METRICS[name]
    family = GaugeMetricFamily(spec.name, spec.help, labels=spec.labels)
    family.add_metric([], value)
    return family


def _histogram(name: str) -> HistogramMetricFamily:
    spec = METRICS[name]
    return HistogramMetricFamily(spec.name, spec.help, labels=spec.labels)


def _add(family: HistogramMetricFamily, labels: list[str], histogram: Histogram) -> None:
    buckets = [(bound, float(count)) for bound, count in histogram.cumulative().items()]
    family.add_metric(labels, buckets=buckets, sum_value=histogram.total)
