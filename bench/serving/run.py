"""One run: every server started, checked, measured and ended, one after the other; then the tables."""

from __future__ import annotations

import json
import os
import platform
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx

from bench.serving.load import Figures, measure, script
from bench.serving.models import KINDS, Served, build
from bench.serving.peers import Peer, peers, python_of

CACHE = "MAESTRO_BENCH_CACHE"
ONLY = "MAESTRO_BENCH_ONLY"
SECONDS = "MAESTRO_BENCH_SECONDS"
SHAPES = (("one", 64), ("one", 1), ("hundred", 64))
SERVER_CORE, CLIENT_CORE = 0, 1
_START_S = 120


@dataclass
class Row:
    """A server with one model.

    Args:
        shapes: figures by body and connections, `one:64`.
        pss_mib: of all its processes after the load.
        cold_s: from its start to the first right answer.
        beside: our requests a second on the same shape, measured right after: a machine's speed drifts, neighbours in time are compared.
        missing: why it is not shown.
    """

    name: str
    table: str
    kind: str
    shapes: dict[str, Figures]
    pss_mib: float = 0.0
    cold_s: float = 0.0
    beside: dict[str, float] = field(default_factory=dict)
    missing: str = ""


def compare() -> list[str]:
    """Measure, write `serving.json` and `serving.md` below the cache, and give the table's lines."""
    cache = Path(os.environ.get(CACHE, "")).expanduser()
    if not os.environ.get(CACHE):
        return [f"set {CACHE} to a folder for the peers' environments and the results"]
    cache.mkdir(parents=True, exist_ok=True)
    if (os.cpu_count() or 1) < 2:
        return ["two cores are needed: one for the server, one for its clients"]
    chosen = os.environ.get(ONLY, "").split(",")
    rows: list[Row] = []
    for kind in KINDS:
        wanted = [
            peer
            for peer in peers()
            if chosen == [""] or any(word and word.lower() in f"{kind} {peer.name}".lower() for word in chosen)
        ]
        ours = next(peer for peer in peers() if peer.table == "ours")
        if not wanted:
            continue
        served = build(kind, cache / "models")
        # What is prepared once per version is no part of a cold start: every later start has the plan.
        with running(ours, served, sys.executable) as (_, port, _):
            for peer in wanted:
                rows.append(_row(peer, served, cache, f"http://127.0.0.1:{port}{ours.path}", ours))
                print(_line(rows[-1]), flush=True)
    lines = tables(rows)
    about = {"at": datetime.now(UTC).isoformat(), "machine": platform.platform(), "cores": os.cpu_count()}
    document = {**about, "rows": [asdict(row) for row in rows]}
    (cache / "serving.json").write_text(json.dumps(document, indent=1))
    (cache / "serving.md").write_text("\n".join(lines) + "\n")
    return lines


def _row(peer: Peer, served: Served, cache: Path, our_url: str, ours: Peer) -> Row:
    row = Row(peer.name, peer.table, served.kind, {})
    try:
        python = python_of(peer, cache)
        with running(peer, served, python) as (process, port, cold):
            row.cold_s = cold
            seconds = float(os.environ.get(SECONDS, "8"))
            headers = {"Content-Type": "application/json", "Authorization": f"Bearer {served.token}"}
            for body, connections in SHAPES:
                count = 1 if body == "one" else 100
                for side, url in ((peer, f"http://127.0.0.1:{port}{peer.path}"), (ours, our_url)):
                    data = json.dumps(side.body(served.rows[:count].tolist())).encode()
                    lua = script(served.folder / f"{body}.lua", data, headers)
                    measure(url, lua, connections=connections, seconds=1, core=CLIENT_CORE)
                    figures = measure(url, lua, connections=connections, seconds=seconds, core=CLIENT_CORE)
                    if side is peer:
                        row.shapes[f"{body}:{connections}"] = figures
                    else:
                        row.beside[f"{body}:{connections}"] = figures.per_second
            row.pss_mib = _pss(process.pid)
    except (RuntimeError, OSError, subprocess.SubprocessError) as error:
        row.missing = str(error)[:200]
    return row


@contextmanager
def running(
    peer: Peer, served: Served, python: str, more: Mapping[str, str] | None = None
) -> Iterator[tuple[subprocess.Popen[bytes], int, float]]:
    """A server on a port of its own: its process, the port, and the seconds from its start to its first right answer.

    Args:
        more: environment variables.

    Raises:
        RuntimeError: it does not start, or answers wrongly.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = ["taskset", "-c", str(SERVER_CORE), *peer.command(python, served, port)]
    environment = {
        **os.environ,
        **peer.environment,
        "OMP_NUM_THREADS": "1",
        "MAESTRO_SERVING__AUTH": "key",
        "DO_NOT_TRACK": "1",
        **(more or {}),
    }
    environment["PATH"] = f"{Path(python).parent}{os.pathsep}{environment['PATH']}"
    log = served.folder / "server.log"
    began = time.perf_counter()
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, env=environment, start_new_session=True)
    try:
        yield process, port, _first_right_answer(peer, served, port, process, began, log)
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _first_right_answer(
    peer: Peer, served: Served, port: int, process: subprocess.Popen[bytes], began: float, log: Path
) -> float:
    headers = {"Authorization": f"Bearer {served.token}"}
    url = f"http://127.0.0.1:{port}{peer.path}"
    cold = 0.0
    with httpx.Client(headers=headers, trust_env=False, timeout=30) as client:
        while True:
            if process.poll() is not None or time.perf_counter() - began > _START_S:
                raise RuntimeError(f"it does not start: {log.read_text(errors='replace').strip()[-300:]}")
            try:
                response = client.post(url, json=peer.body(served.rows[:1].tolist()))
            except httpx.TransportError:
                time.sleep(0.01)
                continue
            if response.status_code == 200:
                cold = cold or time.perf_counter() - began
                break
            time.sleep(0.02)
        if peer.table != "limit":
            _check(peer, served, client, url)
    return cold


def _check(peer: Peer, served: Served, client: httpx.Client, url: str) -> None:
    answers: list[int] = []
    for start in range(0, len(served.answers), 64):
        rows: Any = served.rows[start : min(start + 64, len(served.answers))].tolist()
        answers += peer.read(client.post(url, json=peer.body(rows)).json())
    if answers != served.answers:
        wrong = sum(a != b for a, b in zip(answers, served.answers, strict=False))
        raise RuntimeError(f"{wrong} of {len(served.answers)} answers are not the model's")


def _pss(pid: int) -> float:
    total = 0
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                if os.getpgid(int(folder.name)) != pid:
                    continue
                text = (folder / "smaps_rollup").read_text()
            except OSError:
                continue
            total += next((int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:")), 0)
    return total / 1024


def tables(rows: list[Row]) -> list[str]:
    """Markdown: a table a model, with the ratio to ours where a server was measured."""
    lines: list[str] = []
    for kind in KINDS:
        mine = [row for row in rows if row.kind == kind]
        if not mine:
            continue
        lines += [
            "",
            f"## {kind}",
            "",
            "| server | table | req/s (64) | p50 ms | p99 ms | req/s (1) | p50 ms | 100 rows req/s | PSS MiB | cold s | ours is × (64) | × (100 rows) | errors | client |",
            "|---|---|---|---|---|---|---|---|---|---|---|---|---|---|",
        ]
        lines += [_markdown(row) for row in mine]
    return lines


def _markdown(row: Row) -> str:
    if row.missing or len(row.shapes) < len(SHAPES):
        return (
            f"| {row.name} | {row.table} | not shown: {row.missing.splitlines()[-1] if row.missing else ''} |"
            + " |" * 11
        )
    many, one, hundred = (row.shapes[f"{body}:{connections}"] for body, connections in SHAPES)
    ratio = hundred_ratio = "—"
    if row.table != "ours":
        ratio = f"{row.beside['one:64'] / many.per_second:.1f}"
    if row.table in ("a", "b"):
        hundred_ratio = f"{row.beside['hundred:64'] / hundred.per_second:.1f}"
    errors = many.errors + one.errors + hundred.errors
    limit = "is the limit" if many.client_share > 0.95 else f"{many.client_share:.0%}"
    return (
        f"| {row.name} | {row.table} | {many.per_second:,.0f} | {many.p50_ms:.2f} | {many.p99_ms:.2f} | {one.per_second:,.0f} | {one.p50_ms:.3f} "
        f"| {hundred.per_second:,.0f} | {row.pss_mib:.0f} | {row.cold_s:.2f} | {ratio} | {hundred_ratio} | {errors} | {limit} |"
    )


def _line(row: Row) -> str:
    return f"{row.kind}: {_markdown(row)}"
