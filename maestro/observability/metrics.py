"""Prometheus collectors built from `maestro.core.metric_names.METRICS` and from nothing else.

A name that is not there is refused, so that dashboards, rules and code cannot drift apart. The process's own standard series (`process_cpu_seconds_total`,
`process_start_time_seconds`, …) are exported beside them: cost and restarts are measured from those.
"""

from __future__ import annotations

from threading import Lock
from typing import TypeVar

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.registry import Collector

from maestro.core.errors import NotFound
from maestro.core.metric_names import METRICS, MetricSpec

# The `_created` series double the exposition and stand in no list of names.
disable_created_metrics()  # type: ignore[no-untyped-call]

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
"""Media type of `MetricSet.exposition`."""

_Collector = TypeVar("_Collector", Counter, Gauge, Histogram)


class MetricSet:
    """The collectors of one process (or of one test), each built when first asked for. Thread-safe.

    Args:
        registry: where the collectors are registered; a fresh one by default, never the library's global one.
        process: also export the standard `process_*` series of this process (Linux only).

    >>> metrics = MetricSet(process=False)
    >>> metrics.counter("maestro_responses_total").labels(status="200").inc()
    >>> print(metrics.exposition().decode().splitlines()[-1])
    maestro_responses_total{status="200"} 1.0
    """

    def __init__(self, registry: CollectorRegistry | None = None, *, process: bool = True) -> None:
        self.registry = registry or CollectorRegistry()
        self._collectors: dict[str, Counter | Gauge | Histogram] = {}
        self._lock = Lock()
        if process:
            ProcessCollector(registry=self.registry)

    def counter(self, name: str) -> Counter:
        """The counter `name`; its name ends in `_total`.

        Raises:
            NotFound: no counter has this name in `METRICS`.
        """
        return self._collector(name, "counter", Counter)

    def gauge(self, name: str) -> Gauge:
        """The gauge `name`.

        Raises:
            NotFound: no gauge has this name in `METRICS`.
        """
        return self._collector(name, "gauge", Gauge)

    def histogram(self, name: str) -> Histogram:
        """The histogram `name`, with the buckets of `METRICS`.

        Raises:
            NotFound: no histogram has this name in `METRICS`.
        """
        return self._collector(name, "histogram", Histogram)

    def read_when_asked(self, collector: Collector) -> None:
        """Ask `collector` at each exposition too; it names metrics of `METRICS` alone (`maestro.observability.readings`)."""
        self.registry.register(collector)

    def exposition(self) -> bytes:
        """Every series in the Prometheus text format (`CONTENT_TYPE`)."""
        return generate_latest(self.registry)

    def _collector(self, name: str, kind: str, wanted: type[_Collector]) -> _Collector:
        spec = metric_spec(name, kind)
        with self._lock:
            found = self._collectors.get(name)
            if found is None:
                found = self._collectors[name] = _build(spec, self.registry)
        if not isinstance(found, wanted):
            raise AssertionError(f"{name} was built as {type(found).__name__}")
        return found


def metric_spec(name: str, kind: str) -> MetricSpec:
    """The definition of the metric `name`, which must be of `kind`.

    Raises:
        NotFound: no such metric; the known ones of that kind are listed.

    >>> metric_spec("maestro_rollout_weight", "gauge").labels
    ('model',)
    """
    spec = METRICS.get(name)
    if spec is None or spec.kind != kind:
        known = ", ".join(sorted(each.name for each in METRICS.values() if each.kind == kind))
        raise NotFound(
            f"no {kind} is named {name!r}",
            field="metric",
            remedy=f"use one of: {known}; or add it to maestro/core/metric_names.py",
        )
    return spec


def _build(spec: MetricSpec, registry: CollectorRegistry) -> Counter | Gauge | Histogram:
    if spec.kind == "histogram":
        return Histogram(spec.name, spec.help, spec.labels, registry=registry, buckets=spec.buckets)
    if spec.kind == "gauge":
        return Gauge(spec.name, spec.help, spec.labels, registry=registry)
    return Counter(spec.name, spec.help, spec.labels, registry=registry)
