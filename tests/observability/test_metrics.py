"""Metrics come from one list of names."""

from __future__ import annotations

import pytest
from prometheus_client.parser import text_string_to_metric_families

from maestro.core.errors import NotFound
from maestro.core.metric_names import METRICS
from maestro.observability.metrics import MetricSet


def _family(name: str) -> str:
    return name.removesuffix("_total")


@pytest.mark.parametrize("name", sorted(METRICS))
def test_every_name_is_exported_as_specified(name: str) -> None:
    spec = METRICS[name]
    metrics = MetricSet(process=False)
    labels = dict.fromkeys(spec.labels, "x")
    if spec.kind == "counter":
        counter = metrics.counter(name)
        (counter.labels(**labels) if labels else counter).inc(3)
    elif spec.kind == "gauge":
        gauge = metrics.gauge(name)
        (gauge.labels(**labels) if labels else gauge).set(3)
    else:
        histogram = metrics.histogram(name)
        (histogram.labels(**labels) if labels else histogram).observe(spec.buckets[1])
    families = {each.name: each for each in text_string_to_metric_families(metrics.exposition().decode())}
    assert list(families) == [_family(name)]
    family = families[_family(name)]
    assert family.type == spec.kind
    assert {sample.name for sample in family.samples} <= {name, f"{name}_bucket", f"{name}_count", f"{name}_sum"}
    if spec.kind == "histogram":
        bounds = [sample.labels["le"] for sample in family.samples if sample.name.endswith("_bucket")]
        assert [float(bound) for bound in bounds[:-1]] == list(spec.buckets)
        below = [sample.value for sample in family.samples if sample.name.endswith("_bucket")]
        assert below == [0.0, *[1.0] * (len(bounds) - 1)]
    else:
        assert family.samples[0].value == 3.0
        assert family.samples[0].labels == labels


@pytest.mark.parametrize("name", ["maestro_made_up_total", "maestro_rollout_weight", ""])
def test_a_name_that_is_not_listed_or_of_another_kind_is_refused(name: str) -> None:
    with pytest.raises(NotFound, match=r"no counter is named") as caught:
        MetricSet(process=False).counter(name)
    assert "maestro_responses_total" in caught.value.remedy


def test_asking_twice_gives_the_same_collector() -> None:
    metrics = MetricSet(process=False)
    metrics.counter("maestro_responses_total").labels(status="200").inc()
    metrics.counter("maestro_responses_total").labels(status="200").inc()
    assert 'maestro_responses_total{status="200"} 2.0' in metrics.exposition().decode()


def test_two_sets_share_nothing() -> None:
    first, second = MetricSet(process=False), MetricSet(process=False)
    first.gauge("maestro_inference_inflight").set(7)
    assert "maestro_inference_inflight" not in second.exposition().decode()


def test_the_process_exports_its_own_seconds() -> None:
    text = MetricSet().exposition().decode()
    assert "process_cpu_seconds_total" in text
    assert "process_start_time_seconds" in text
