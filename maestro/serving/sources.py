"""Which source a rollout takes its evidence from, by name."""

from __future__ import annotations

from maestro.clients.prometheus import PrometheusClient
from maestro.core.clock import Clock
from maestro.core.errors import BadInput
from maestro.core.seams import MetricSource
from maestro.serving.metric_source import ServerMetricSource
from maestro.serving.prometheus_source import PrometheusMetricSource

SOURCES = ("server", "prometheus")
"""The known names: the model server's own evidence, which tells entities apart, or its counters as Prometheus scraped them."""


def metric_source(
    name: str,
    *,
    server_url: str,
    token: str,
    prometheus_url: str | None = None,
    matchers: str = "",
    clock: Clock | None = None,
) -> MetricSource:
    """The source of this name.

    Args:
        name: one of `SOURCES`.
        server_url: the model server.
        token: a key with any role, for the server.
        prometheus_url: Prometheus, for the source of that name.
        matchers: label matchers that series in Prometheus have to meet, such as `namespace="ml-serving"`.

    Raises:
        BadInput: no such source, or what it needs is not given.

    >>> metric_source("guess", server_url="http://127.0.0.1", token="")
    Traceback (most recent call last):
    maestro.core.errors.BadInput: no metric source is named 'guess'
    """
    if name == "server":
        return ServerMetricSource(server_url, token, clock=clock)
    if name == "prometheus":
        if not prometheus_url:
            raise BadInput(
                "the metric source prometheus has no address",
                field="prometheus_url",
                remedy="set MAESTRO_PROMETHEUS_URL",
            )
        return PrometheusMetricSource(PrometheusClient(prometheus_url), matchers, clock=clock)
    raise BadInput(
        f"no metric source is named {name!r}", field="metric_source", remedy=f"use one of: {', '.join(SOURCES)}"
    )
