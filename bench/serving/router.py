"""What splitting adds to a request: a server asked directly, by a split in its own process, and by a router that splits between remote nodes.

All servers share one core, and the load another; requests come at a steady rate whether or not they are answered, a few at once. The three ways are measured in turns.
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
from statistics import median
from typing import Any

from bench.serving.load import Figures
from bench.serving.models import Served, build
from bench.serving.peers import peers
from bench.serving.run import CACHE, running
from bench.serving.steady import SECONDS, open_loop
from maestro.clients.home import Home
from maestro.security.quarantine import read_manifest

RATES = (200, 1000, 2000)
TURNS = 3
CONNECTIONS = 4
SHARE = 5000
DIRECT, SPLIT, ROUTER = "asked directly", "split in the process", "router, remote nodes"


def compare() -> list[str]:
    """Lines of Markdown."""
    if not os.environ.get(CACHE):
        return [f"set {CACHE} to a folder for the models and the results"]
    served = build("forest", Path(os.environ[CACHE]).expanduser() / "router")
    ours = next(peer for peer in peers() if peer.table == "ours")
    seconds = float(os.environ.get(SECONDS, "8")) / 2
    found: dict[tuple[str, int], list[Figures]] = {}
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
            open_loop(url, ours, served, RATES[0], 1, CONNECTIONS)
        for _ in range(TURNS):
            for rate in RATES:
                for name, url in addresses.items():
                    found.setdefault((name, rate), []).append(open_loop(url, ours, served, rate, seconds, CONNECTIONS))
    lines = ["| requests/s | how | p50 ms | p99 ms | p50 added | p99 added | errors |", "|---|---|---|---|---|---|---|"]
    return lines + [_line(name, rate, figures, found[DIRECT, rate]) for (name, rate), figures in found.items()]


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


def _line(name: str, rate: int, figures: list[Figures], direct: list[Figures]) -> str:
    added = [
        median(getattr(mine, field) - getattr(theirs, field) for mine, theirs in zip(figures, direct, strict=True))
        for field in ("p50_ms", "p99_ms")
    ]
    middle = [median(getattr(each, field) for each in figures) for field in ("p50_ms", "p99_ms")]
    return (
        f"| {rate:,} | {name} | {middle[0]:.2f} | {middle[1]:.2f} | {added[0]:+.2f} | {added[1]:+.2f} "
        f"| {sum(each.errors for each in figures)} |"
    )
