"""`maestro service`: one service in the foreground, as the supervisor and the cluster start it."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

app = typer.Typer(
    no_args_is_help=True, add_completion=False, rich_markup_mode=None, help="Run one service in the foreground."
)

Host = Annotated[str, typer.Option(help="Address to listen on.")]
MetricsPort = Annotated[
    int | None, typer.Option(min=0, max=65535, help="Also serve /metrics there, without a key; not at all by default.")
]
Port = Annotated[int, typer.Option(min=1, max=65535, help="Port to listen on.")]


@app.command()
def api(port: Port = 8080, host: Host = "127.0.0.1", metrics_port: MetricsPort = None) -> None:
    """The control plane's HTTP API."""
    # doors do not import each other: this process becomes the other door
    own = [] if metrics_port is None else ["--metrics-port", str(metrics_port)]
    os.execv(  # noqa: S606
        sys.executable, [sys.executable, "-m", "maestro.api", "--host", host, "--port", str(port), *own]
    )


@app.command()
def worker(host: Host = "127.0.0.1", metrics_port: MetricsPort = None) -> None:
    """A training worker, which also registers what its jobs publish."""
    from maestro.lifecycle.worker import run_worker
    from maestro.observability.logging import configure

    configure("worker")
    run_worker(metrics=metrics_port, host=host)


@app.command()
def server(port: Port = 8000, host: Host = "127.0.0.1") -> int:
    """The model server."""
    from maestro.serving.main import main

    return main(["--host", host, "--port", str(port)])
