"""What metrics and traces cost: servers with and without, in turns, on one core."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from statistics import median

import httpx

from bench.serving.load import measure
from bench.serving.models import Served, build
from bench.serving.peers import PROGRAMS, Peer, peers
from bench.serving.run import CACHE, CLIENT_CORE, running
from bench.serving.steady import CONNECTIONS, SECONDS, one_row

TURNS = 5
COLLECTOR = PROGRAMS / "collector.py"
NEITHER, METRICS, BOTH, ALL = "neither metrics nor traces", "metrics", "metrics, and traces as they are set by default", "metrics, and every request traced"  # fmt: skip


def compare() -> list[str]:
    """Lines of Markdown."""
    if not os.environ.get(CACHE):
        return [f"set {CACHE} to a folder for the models and the results"]
    served = build("forest", Path(os.environ[CACHE]).expanduser() / "cost")
    ours = next(peer for peer in peers() if peer.table == "ours")
    unmetered = replace(ours, name="Maestro without metrics", command=_unmetered)
    seconds = float(os.environ.get(SECONDS, "8")) / 2
    found: dict[str, list[float]] = {}
    with _collecting() as address:
        collector = {"OTEL_EXPORTER_OTLP_ENDPOINT": address}
        kinds: dict[str, tuple[Peer, Mapping[str, str]]] = {
            NEITHER: (unmetered, {}),
            METRICS: (ours, {}),
            BOTH: (ours, collector),
            ALL: (ours, collector | {"OTEL_TRACES_SAMPLER": "always_on"}),
        }
        for _ in range(TURNS):
            for name, (peer, environment) in kinds.items():
                with running(peer, served, sys.executable, environment) as (_, port, _):
                    url, lua = f"http://127.0.0.1:{port}{peer.path}", one_row(peer, served)
                    measure(url, lua, connections=CONNECTIONS, seconds=1, core=CLIENT_CORE)
                    figures = measure(url, lua, connections=CONNECTIONS, seconds=seconds, core=CLIENT_CORE)
                    found.setdefault(name, []).append(figures.per_second)
        spans = httpx.get(f"{address}/received", trust_env=False).json()
    lines = [
        f"| what is on | requests/s | against {NEITHER}, in the same turn | against {METRICS} alone |",
        "|---|---|---|---|",
    ]
    for name, rates in found.items():
        without = [
            median(rate / base for rate, base in zip(rates, found[other], strict=True)) - 1
            for other in (NEITHER, METRICS)
        ]
        lines.append(f"| {name} | {median(rates):,.0f} | {without[0]:+.1%} | {without[1]:+.1%} |")
    return [*lines, f"the collector received {spans:,} requests with spans; medians of {TURNS} turns"]


def _unmetered(python: str, served: Served, port: int) -> list[str]:
    return [python, str(PROGRAMS / "unmetered.py"), "--home", str(served.folder / "home"), "--port", str(port)]


@contextmanager
def _collecting() -> Iterator[str]:
    """The address of what takes traces."""
    collector = subprocess.Popen([sys.executable, str(COLLECTOR)], stdout=subprocess.PIPE, text=True)
    try:
        assert collector.stdout is not None  # noqa: S101 - a pipe, by the call above
        yield collector.stdout.readline().strip()
    finally:
        collector.terminate()
        collector.wait()
