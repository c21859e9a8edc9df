"""What the router adds to an answer: champion, challenger and router as they are installed, asked in turns at a steady pace."""

from __future__ import annotations

import http.client
import json
import secrets
import threading
import time
from pathlib import Path
from statistics import median, quantiles
from urllib.parse import urlsplit

import pytest

from maestro.clients.home import Home
from maestro.clients.kubernetes.objects import Cluster
from tests.node.installation import missing_images
from tests.node.own_servers import own_servers
from tests.serving.conftest import ENTITY, Trained, Workshop, split, trained
from tests.serving.conftest import node as pinned

__all__ = ["trained"]

pytestmark = [pytest.mark.node, pytest.mark.timeout(300)]

ROUNDS, ROUND_S = 4, 6.0
CALLERS = 2
REST_S = 0.008
LIMIT_S = 0.005


def asked(urls: dict[str, str], rows: list[list[float]], seconds: float) -> dict[str, list[float]]:
    """Each address in its turn over connections that stay open: seconds of the same request, in pairs."""
    taken: dict[str, list[float]] = {name: [] for name in urls}
    lock = threading.Lock()
    failed: list[str] = []
    until = time.monotonic() + seconds

    def caller(number: int) -> None:
        hosts = {name: urlsplit(url) for name, url in urls.items()}
        open_ = {name: http.client.HTTPConnection(str(at.hostname), at.port, timeout=10) for name, at in hosts.items()}
        turn = 0
        while time.monotonic() < until and not failed:
            turn += 1
            body = json.dumps({"instances": [rows[turn % len(rows)]], "entities": [{ENTITY: f"{number}-{turn}"}]})
            pair = {}
            for name in sorted(open_, reverse=bool(turn % 2)):
                began = time.perf_counter()
                open_[name].request("POST", "/predict", body, {"Content-Type": "application/json"})
                response = open_[name].getresponse()
                content = response.read()
                pair[name] = time.perf_counter() - began
                if response.status != 200:
                    failed.append(f"{name}: {response.status} {content[:200]!r}")
                time.sleep(REST_S)
            with lock:
                for name, took in pair.items():
                    taken[name].append(took)
        for connection in open_.values():
            connection.close()

    threads = [threading.Thread(target=caller, args=(number,)) for number in range(CALLERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    return taken


@pytest.mark.door
@pytest.mark.shows("H4", env="cluster")
def test_the_router_adds_less_than_five_milliseconds(node: Cluster, trained: Trained, tmp_path: Path) -> None:
    """By the median of the pairs in every round, and by the 99th percentile in the quietest one: what else the machine does only adds."""
    if any("/model-server" in one for one in missing_images(node)):
        pytest.skip("the node lacks the model server's image: make images, with --load")
    namespace = f"router-latency-{secrets.token_hex(3)}"
    shops = {}
    for name in ("champion", "challenger", "router"):
        (tmp_path / name).mkdir()
        shops[name] = Workshop(Home(tmp_path / name))
    for name in ("champion", "challenger"):
        version = shops[name].register("1.0.0", {"model.onnx": trained.onnx}, trained.contract)
        shops[name].graph({"a": pinned(version)}, "a")
    remote = {
        name: {"type": "remote", "url": f"http://{name}.{namespace}/v2/models/m", "timeout_ms": 2000}
        for name in ("champion", "challenger")
    }
    shops["router"].graph({**remote, "ab": split("champion", "challenger", 5000)}, "ab")
    shops["router"].home.versions.mkdir(exist_ok=True)
    with own_servers(node, namespace) as servers:
        urls = {name: servers.start(name, shop.home) for name, shop in shops.items()}
        pairs = {"direct": urls["champion"], "router": urls["router"]}
        rows = trained.rows.tolist()
        asked(pairs, rows, 2.0)
        rounds = [asked(pairs, rows, ROUND_S) for _ in range(ROUNDS)]
    added, late, count = [], [], 0
    for taken in rounds:
        count += len(taken["direct"])
        added.append(median(there - here for there, here in zip(taken["router"], taken["direct"], strict=True)))
        tail = {name: quantiles(times, n=100)[98] for name, times in taken.items()}
        late.append(tail["router"] - tail["direct"])
    figures = {
        "pairs": count, "a second": round(2 * count / (ROUNDS * ROUND_S)),
        "median ms": {name: round(1000 * median(took for one in rounds for took in one[name]), 2) for name in pairs},
        "added by the median ms": [round(1000 * one, 2) for one in added],
        "added at p99 ms": [round(1000 * one, 2) for one in late],
    }  # fmt: skip
    print(json.dumps(figures))
    assert max(added) < LIMIT_S, figures
    assert min(late) < LIMIT_S, figures
