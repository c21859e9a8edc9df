"""A port of its own for `/metrics`: what a process says about itself, for a scraper inside the cluster's network and for nobody else."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import start_http_server

from maestro.core.errors import Unreachable
from maestro.observability.metrics import MetricSet


@contextmanager
def metrics_port(metrics: MetricSet, port: int | None, host: str = "127.0.0.1") -> Iterator[int | None]:
    """Serve the metrics for as long as the block lasts; gives the port. Without a port nothing is opened.

    Args:
        metrics: what is served.
        port: 0 takes a free one; None serves nothing.
        host: the address to listen on (default: this machine only).

    Raises:
        Unreachable: the port is taken.
    """
    if port is None:
        yield None
        return
    try:
        server, thread = start_http_server(port, host, metrics.registry)
    except OSError as error:
        raise Unreachable(
            f"the metrics port {host}:{port} cannot be opened: {error.strerror or error}",
            remedy="set MAESTRO_METRICS__PORT to a free one",
            component="metrics port",
        ) from None
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join(timeout=5)
