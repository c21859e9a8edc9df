"""What splitting adds to a request: a server asked directly, by a split in its own process, and by a router that splits between remote nodes.

All servers share one core, and the load another; requests come at a steady rate whether or not they are answered, in step over so many connections. The three
ways are measured in many short turns, each way right after the other, since a machine's speed drifts; their times are pooled, and what a way adds is told with
an interval by drawing whole turns again (Efron and Tibshirani, "An Introduction to the Bootstrap", chapter 8: blocks of what is not independent).
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.serving.models import Served, build
from bench.serving.peers import peers
from bench.serving.run import CACHE, running
from bench.serving.steady import SECONDS, open_loop_times
from maestro.clients.home import Home
from maestro.security.quarantine import read_manifest

LOADS = ((200, 1), (200, 4), (1000, 4), (2000, 4), (1280, 64), (6400, 64))
"""Requests a second, and over how many connections: so many come at once."""
TURN_S = 1
DRAWS = 1000
SHARE = 5000
DIRECT, SPLIT, ROUTER = "asked directly", "split in the process", "router, remote nodes"


def compare() -> list[str]:
    """Lines of Markdown."""
    if not os.environ.get(CACHE):
        return [f"set {CACHE} to a folder for the models and the results"]
    served = build("forest", Path(os.environ[CACHE]).expanduser() / "router")
    ours = next(peer for peer in peers() if peer.table == "ours")
    turns = max(2, round(float(os.environ.get(SECONDS, "8")) / TURN_S))
    found: dict[tuple[str, int, int], list[NDArray[np.float64]]] = {}
    wrong: dict[tuple[str, int, int], int] = {}
    with ExitStack() as stack:

        def start(name: str, folder: Path, **environment: str) -> str:
            peer = replace(ours, name=name, command=_over(folder))
            _, port, _ = stack.enter_context(running(peer, served, sys.executable, environment))
            return f"http://127.0.0.1:{port}{peer.path}"

        home = served.folder / "home"
        addresses = {DIRECT: start(DIRECT, home), SPLIT: start(SPLIT, _home(served, "split", _two_versions(home)))}
        remote = f"{addresses[DIRECT].removesuffix(ours.path)}/v2/models/m"
        key = served.folder / "key"
        key.write_text(served.token)
        addresses[ROUTER] = start(
            ROUTER, _home(served, "routed", _two_nodes(remote)), MAESTRO_SERVING__REMOTE_KEY=str(key)
        )
        for url in addresses.values():
            open_loop_times(url, ours, served, 1000, 2, 4)
        for _ in range(turns):
            for rate, connections in LOADS:
                for name, url in addresses.items():
                    times, errors = open_loop_times(url, ours, served, rate, TURN_S, connections)
                    found.setdefault((name, rate, connections), []).append(np.array(times))
                    wrong[name, rate, connections] = wrong.get((name, rate, connections), 0) + errors
    lines = [
        "| requests/s | at once | how | requests | p50 ms | p99 ms | p50 added | p99 added (95 %) | errors |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    return lines + [_line(key, turns, found[DIRECT, *key[1:]], wrong[key]) for key, turns in found.items()]


def _over(folder: Path) -> Callable[[str, Served, int], list[str]]:
    return lambda python, _, port: [python, "-m", "maestro.serving.main", "--home", str(folder), "--port", str(port)]


def _home(served: Served, name: str, nodes: dict[str, Any]) -> Path:
    """A copy of the model's home with another graph."""
    home = Home(served.folder / name)
    shutil.copytree(served.folder / "home", home.root, dirs_exist_ok=True)
    split = {
        "type": "split",
        "salt": "s",
        "arms": [{"node": "a", "weight": SHARE}, {"node": "b", "weight": 10_000 - SHARE}],
        "fallback": "a",
    }
    graph = {
        "apiVersion": "maestro/v1",
        "kind": "InferenceGraph",
        "metadata": {"name": "m", "revision": 1},
        "root": "ab",
        "nodes": nodes | {"ab": split},
    }
    home.graph("m").write_text(json.dumps(graph))  # JSON is YAML
    return home.root


def _two_versions(home: Path) -> dict[str, Any]:
    manifest = read_manifest(Home(home).version("m", "1.0.0"))
    node = {"type": "model", "model": "m", "version": manifest.version, "digest": manifest.content_digest()}
    return {"a": node, "b": node}


def _two_nodes(url: str) -> dict[str, Any]:
    return {name: {"type": "remote", "url": url, "timeout_ms": 2000} for name in ("a", "b")}


def _line(
    key: tuple[str, int, int], turns: list[NDArray[np.float64]], direct: list[NDArray[np.float64]], errors: int
) -> str:
    name, rate, connections = key
    times, theirs = np.concatenate(turns), np.concatenate(direct)
    p50, p99 = np.quantile(times, [0.5, 0.99])
    added = np.quantile(times, [0.5, 0.99]) - np.quantile(theirs, [0.5, 0.99])
    low, high = _interval(turns, direct)
    return (
        f"| {rate:,} | {connections} | {name} | {len(times):,} | {p50:.2f} | {p99:.2f} "
        f"| {added[0]:+.2f} | {added[1]:+.2f} ({low:+.2f} to {high:+.2f}) | {errors} |"
    )


def _interval(turns: list[NDArray[np.float64]], direct: list[NDArray[np.float64]]) -> tuple[float, float]:
    """Between which bounds the p99 added lies, when turns are drawn again with their neighbours."""
    drawn = np.random.default_rng(1)
    added = []
    for _ in range(DRAWS):
        chosen = drawn.integers(len(turns), size=len(turns))
        mine, theirs = (np.concatenate([each[i] for i in chosen]) for each in (turns, direct))
        added.append(np.quantile(mine, 0.99) - np.quantile(theirs, 0.99))
    low, high = np.quantile(added, [0.025, 0.975])
    return float(low), float(high)
