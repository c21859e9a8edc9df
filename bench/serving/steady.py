"""Our server alone, on one core: a long load, a load that comes whether or not it is answered (open loop), and its cold start."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from bench.serving.load import Figures, measure, script
from bench.serving.models import Served, build
from bench.serving.peers import Peer, peers
from bench.serving.run import CACHE, CLIENT_CORE, running

SECONDS = "MAESTRO_BENCH_SECONDS"
LONG_S = 60
CONNECTIONS = 64


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
        url, lua = f"http://127.0.0.1:{port}{ours.path}", one_row(ours, served)
        capacity = measure(url, lua, connections=CONNECTIONS, seconds=seconds, core=CLIENT_CORE)
        lines += [
            _line("closed loop", capacity),
            _line("open loop at half of that", open_loop(url, ours, served, capacity.per_second / 2, seconds)),
            _line(f"closed loop for {LONG_S} s", measure(url, lua, connections=CONNECTIONS, seconds=LONG_S, core=CLIENT_CORE)),
        ]  # fmt: skip
    return [*lines, f"cold start to the first right answer: {cold:.2f} s with a plan, {first:.2f} s without"]


def open_loop(
    url: str, ours: Peer, served: Served, rate: float, seconds: float, connections: int = CONNECTIONS
) -> Figures:
    """Requests at a steady rate over all connections, answered or not, by h2load: the connections send in step, as many at once as there are."""
    times, errors = open_loop_times(url, ours, served, rate, seconds, connections)
    times.sort()
    return Figures(len(times) / seconds, times[len(times) // 2], times[int(len(times) * 0.99)], errors, 0.0)


def open_loop_times(
    url: str, ours: Peer, served: Served, rate: float, seconds: float, connections: int
) -> tuple[list[float], int]:
    """How long each of them took in milliseconds, and how many were answered by no 2xx."""
    body = served.folder / "open.json"
    body.write_text(json.dumps(ours.body(served.rows[:1].tolist())))
    log = served.folder / "open.log"
    log.unlink(missing_ok=True)
    each = max(1, round(rate / connections))
    subprocess.run(
        ["taskset", "-c", str(CLIENT_CORE), "h2load", "--h1", f"-c{connections}", "-t1", f"-D{seconds:.0f}", f"--rps={each}", "-d", str(body),
         "-H", "content-type: application/json", "-H", f"authorization: Bearer {served.token}", f"--log-file={log}", url],
        capture_output=True, check=True,
    )  # fmt: skip
    rows = [line.split("\t") for line in log.read_text().splitlines()]
    return [int(row[2]) / 1000 for row in rows], sum(not row[1].startswith("2") for row in rows)


def one_row(ours: Peer, served: Served) -> Path:
    """What wrk sends: one row, with its key."""
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {served.token}"}
    return script(served.folder / "one.lua", json.dumps(ours.body(served.rows[:1].tolist())).encode(), headers)


def _line(what: str, figures: Figures) -> str:
    return f"| {what} | {figures.per_second:,.0f} | {figures.p50_ms:.2f} | {figures.p99_ms:.2f} | {figures.errors} |"
