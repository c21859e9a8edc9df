"""Our server alone, on one core: a long load, a load that comes whether or not it is answered (open loop), and what tracing costs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import httpx

from bench.serving.load import Figures, measure, script
from bench.serving.models import Served, build
from bench.serving.peers import Peer, peers
from bench.serving.run import CACHE, CLIENT_CORE, running

SECONDS = "MAESTRO_BENCH_SECONDS"
LONG_S = 60
CONNECTIONS = 64
COLLECTOR = Path(__file__).parent / "programs" / "collector.py"


def compare() -> list[str]:
    """Lines of Markdown."""
    cache = Path(os.environ.get(CACHE, "")).expanduser()
    if not os.environ.get(CACHE):
        return [f"set {CACHE} to a folder for the models and the results"]
    served = build("forest", cache / "steady")
    ours = next(peer for peer in peers() if peer.table == "ours")
    seconds = float(os.environ.get(SECONDS, "8"))
    lines = ["| what | requests/s | p50 ms | p99 ms | errors |", "|---|---|---|---|---|"]
    with running(ours, served, sys.executable) as (_, _, first):
        pass
    with running(ours, served, sys.executable) as (_, port, cold):
        url, lua = f"http://127.0.0.1:{port}{ours.path}", _script(ours, served)
        capacity = measure(url, lua, connections=CONNECTIONS, seconds=seconds, core=CLIENT_CORE)
        lines += [
            _line("closed loop", capacity),
            _line("open loop at half of that", open_loop(url, ours, served, capacity.per_second / 2, seconds)),
            _line(f"closed loop for {LONG_S} s", measure(url, lua, connections=CONNECTIONS, seconds=LONG_S, core=CLIENT_CORE)),
        ]  # fmt: skip
    lines += [f"cold start to the first right answer: {cold:.2f} s with a plan, {first:.2f} s without", ""]
    return lines + _tracing(ours, served, seconds)


def _tracing(ours: Peer, served: Served, seconds: float) -> list[str]:
    """Servers with and without, in turns."""
    collector = subprocess.Popen([sys.executable, str(COLLECTOR)], stdout=subprocess.PIPE, text=True)
    try:
        assert collector.stdout is not None  # noqa: S101 - a pipe, by the call above
        address = collector.stdout.readline().strip()
        settings = {
            "without tracing": {},
            "tracing, as it is set by default": {"OTEL_EXPORTER_OTLP_ENDPOINT": address},
            "tracing of every request": {"OTEL_EXPORTER_OTLP_ENDPOINT": address, "OTEL_TRACES_SAMPLER": "always_on"},
        }
        found: dict[str, list[float]] = {name: [] for name in settings}
        for _ in range(3):
            for name, environment in settings.items():
                with running(ours, served, sys.executable, environment) as (_, port, _):
                    url, lua = f"http://127.0.0.1:{port}{ours.path}", _script(ours, served)
                    measure(url, lua, connections=CONNECTIONS, seconds=1, core=CLIENT_CORE)
                    figures = measure(url, lua, connections=CONNECTIONS, seconds=seconds / 2, core=CLIENT_CORE)
                    found[name].append(figures.per_second)
        spans = httpx.get(f"{address}/received", trust_env=False).json()
    finally:
        collector.terminate()
        collector.wait()
    middle = {name: sorted(values)[1] for name, values in found.items()}
    base = middle["without tracing"]
    return [f"{name}: {value:,.0f} requests/s ({value / base - 1:+.1%})" for name, value in middle.items()] + [
        f"the collector received {spans:,} requests with spans"
    ]


def open_loop(url: str, ours: Peer, served: Served, rate: float, seconds: float) -> Figures:
    """Requests at a steady rate over all connections, answered or not, by h2load."""
    body = served.folder / "open.json"
    body.write_text(json.dumps(ours.body(served.rows[:1].tolist())))
    log = served.folder / "open.log"
    log.unlink(missing_ok=True)
    each = max(1, round(rate / CONNECTIONS))
    subprocess.run(
        ["taskset", "-c", str(CLIENT_CORE), "h2load", "--h1", f"-c{CONNECTIONS}", "-t1", f"-D{seconds:.0f}", f"--rps={each}", "-d", str(body),
         "-H", "content-type: application/json", "-H", f"authorization: Bearer {served.token}", f"--log-file={log}", url],
        capture_output=True, check=True,
    )  # fmt: skip
    rows = [line.split("\t") for line in log.read_text().splitlines()]
    times = sorted(int(row[2]) / 1000 for row in rows)
    errors = sum(not row[1].startswith("2") for row in rows)
    return Figures(len(rows) / seconds, times[len(times) // 2], times[int(len(times) * 0.99)], errors, 0.0)


def _script(ours: Peer, served: Served) -> Path:
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {served.token}"}
    return script(served.folder / "one.lua", json.dumps(ours.body(served.rows[:1].tolist())).encode(), headers)


def _line(what: str, figures: Figures) -> str:
    return f"| {what} | {figures.per_second:,.0f} | {figures.p50_ms:.2f} | {figures.p99_ms:.2f} | {figures.errors} |"
