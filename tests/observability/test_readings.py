"""Samples that are read at the scrape, and the port that serves them."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from maestro.clients.exposition import parse_exposition
from maestro.core.errors import Unreachable
from maestro.observability.metrics import MetricSet
from maestro.observability.metrics_port import metrics_port
from maestro.observability.readings import Distribution, Readings, Sample


def _read() -> Iterator[Sample | Distribution]:
    yield Sample("maestro_jobs", ("queued", "high", "local"), 3)
    yield Sample("maestro_jobs", ("running", "high", "local"), 1)
    yield Sample("maestro_cost_usd_total", ("training",), 0.25)
    took = Distribution("maestro_job_duration_seconds", ("classifier", "completed"))
    for seconds in (0.5, 4.0, 20000.0):
        took.observe(seconds)
    yield took


def test_families_are_told_once_with_all_their_samples() -> None:
    metrics = MetricSet(process=False)
    metrics.read_when_asked(Readings(_read))
    text = metrics.exposition().decode()
    assert text.count("# TYPE maestro_jobs gauge") == 1
    samples = parse_exposition(text)
    assert samples["maestro_jobs", (("backend", "local"), ("priority", "high"), ("state", "queued"))] == 3
    assert samples["maestro_cost_usd_total", (("kind", "training"),)] == 0.25
    labels = (("model_type", "classifier"), ("state", "completed"))
    assert samples["maestro_job_duration_seconds_count", labels] == 3
    assert samples["maestro_job_duration_seconds_sum", labels] == 20004.5
    assert samples["maestro_job_duration_seconds_bucket", (("le", "5"), *labels)] == 2


@pytest.mark.shows("J7", env="laptop")
@pytest.mark.door
def test_the_port_serves_the_process_and_the_readings_to_anybody_who_reaches_it() -> None:
    metrics = MetricSet()
    metrics.read_when_asked(Readings(_read))
    with metrics_port(metrics, 0) as port:
        answer = httpx.get(f"http://127.0.0.1:{port}/metrics")
        assert answer.status_code == 200
        assert "process_start_time_seconds" in answer.text
        assert 'maestro_jobs{backend="local"' in answer.text or "maestro_jobs{" in answer.text
        with pytest.raises(Unreachable, match="metrics port"), metrics_port(metrics, port):
            pass
    with metrics_port(metrics, None) as none:
        assert none is None
