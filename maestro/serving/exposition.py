"""The counters as Prometheus reads them: the metric families of `maestro.core.metric_names` and no other."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray
from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric

from maestro.core.metric_names import METRICS
from maestro.serving.counters import Key
from maestro.serving.metrics import (
    ARM,
    CACHE,
    INFLIGHT,
    OUTCOMES,
    QUEUE,
    RANGE,
    RESPONSE,
    RESPONSE_LATENCY,
    ROWS,
    SHADOW,
    ServerMetrics,
    cumulative,
)

Rows = list[tuple[Key, NDArray[np.float64]]]


def exposition(metrics: ServerMetrics) -> bytes:
    """The text of one scrape, summed over all processes of the server."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collector(metrics))
    ProcessCollector(registry=registry)
    return generate_latest(registry)


class _Collector:
    def __init__(self, metrics: ServerMetrics) -> None:
        self._metrics = metrics

    def collect(self) -> Iterator[Metric]:
        """What prometheus_client asks a collector for."""
        metrics, total = self._metrics, self._metrics.total()

        def under(kind: str) -> Rows:
            return [(key[1:], row) for key, row in total.items() if key[0] == kind]

        def counts(kind: str) -> list[tuple[Key, float]]:
            return [(key, float(row[0])) for key, row in under(kind)]

        arms = under(ARM)
        yield _counter(
            "maestro_inference_requests_total",
            [((*arm, outcome), float(row[i])) for arm, row in arms for i, outcome in enumerate(OUTCOMES)],
        )
        yield _histogram("maestro_inference_latency_seconds", [(arm, row[len(OUTCOMES) :]) for arm, row in arms])
        yield _histogram("maestro_inference_batch_size", under(ROWS))
        yield _histogram("maestro_response_latency_seconds", under(RESPONSE_LATENCY))
        yield _counter("maestro_responses_total", counts(RESPONSE))
        yield _counter("maestro_inference_out_of_range_total", counts(RANGE))
        for side in ("hits", "misses"):
            looked = [((key[0],), value) for key, value in counts(CACHE) if key[1] == side]
            yield _counter(f"maestro_cache_{side}_total", looked)
        yield _counter("maestro_shadow_copies_total", counts(SHADOW))
        yield _gauge("maestro_inference_inflight", counts(INFLIGHT))
        yield _gauge("maestro_inference_queue_depth", counts(QUEUE) or [((), 0.0)])
        yield _gauge("maestro_serving_unsigned", [((), float(metrics.unsigned_allowed))])
        yield _counter("maestro_model_swaps_total", [((key,), value) for key, value in metrics.swaps.items()])
        yield _counter("maestro_labels_total", metrics.labels.items())
        yield _counter("maestro_exposures_dropped_total", [((), metrics.dropped())])
        for source in metrics.sources:
            for name, values in source():
                yield (_counter if name.endswith("_total") else _gauge)(name, values)


def _counter(name: str, values: Iterable[tuple[Key, float]]) -> CounterMetricFamily:
    spec = METRICS[name]
    family = CounterMetricFamily(spec.name.removesuffix("_total"), spec.help, labels=spec.labels)
    for labels, value in list(values):
        family.add_metric(list(labels), value)
    return family


def _gauge(name: str, values: Iterable[tuple[Key, float]]) -> GaugeMetricFamily:
    spec = METRICS[name]
    family = GaugeMetricFamily(spec.name, spec.help, labels=spec.labels)
    for labels, value in values:
        family.add_metric(list(labels), value)
    return family


def _histogram(name: str, rows: Rows) -> HistogramMetricFamily:
    spec = METRICS[name]
    family = HistogramMetricFamily(spec.name, spec.help, labels=spec.labels)
    for labels, row in rows:
        buckets = [(bound, float(count)) for bound, count in cumulative(spec.buckets, row).items()]
        family.add_metric(list(labels), buckets=buckets, sum_value=float(row[-1]))
    return family
