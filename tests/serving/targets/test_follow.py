"""A ConfigMap's graph becomes the file of the server beside it, whole or not at all."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from maestro.clients.kubernetes import Cluster, Connection, Ref
from maestro.core.errors import BadInput, Unreachable
from maestro.serving.targets.follow import EVERY_S, GraphFollowing

GRAPH = """
apiVersion: maestro/v1
kind: InferenceGraph
metadata: {name: m, revision: %d}
root: a
nodes:
  a: {type: remote, url: "http://model-champion/v2/models/m", timeout_ms: 100}
"""


class ApiServer:
    """What a Kubernetes API server answers about one ConfigMap."""

    def __init__(self) -> None:
        self.data: dict[str, str] | None = None
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                status, body = outer.answer(self.path.partition("?")[0])
                content = json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, format: str, *args: object) -> None:
                return

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True)
        self.thread.start()
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"

    def answer(self, path: str) -> tuple[int, dict[str, Any]]:
        if path == "/api/v1":
            kind = {"name": "configmaps", "kind": "ConfigMap", "namespaced": True, "verbs": ["get"]}
            return 200, {"kind": "APIResourceList", "groupVersion": "v1", "resources": [kind]}
        if self.data is None:
            return 404, {
                "kind": "Status",
                "status": "Failure",
                "code": 404,
                "reason": "NotFound",
                "message": "not found",
            }
        meta = {"name": "ab-test-config", "namespace": "ml-serving", "resourceVersion": "1"}
        return 200, {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": self.data}

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


@pytest.fixture
def api() -> Iterator[ApiServer]:
    found = ApiServer()
    yield found
    found.close()


@pytest.fixture
def cluster(api: ApiServer, tmp_path: Path) -> Cluster:
    config = {
        "apiVersion": "v1", "kind": "Config", "current-context": "c", "users": [{"name": "u", "user": {}}],
        "clusters": [{"name": "k", "cluster": {"server": api.url}}], "contexts": [{"name": "c", "context": {"cluster": "k", "user": "u"}}],
    }  # fmt: skip
    path = tmp_path / "kubeconfig"
    path.write_text(yaml.safe_dump(config))
    return Cluster(Connection.load(path, patience_s=0.2))


@pytest.fixture
def following(cluster: Cluster, tmp_path: Path) -> GraphFollowing:
    return GraphFollowing(cluster, Ref("v1", "ConfigMap", "ab-test-config", "ml-serving"), tmp_path / "graphs")


def test_an_edit_is_written_once_and_a_map_that_is_gone_leaves_the_file(
    api: ApiServer, following: GraphFollowing, tmp_path: Path
) -> None:
    file = tmp_path / "graphs/m.yaml"
    assert not following.look(), "there is no ConfigMap yet"
    api.data = {"graph.yaml": GRAPH % 1}
    assert following.look()
    assert yaml.safe_load(file.read_text())["metadata"]["revision"] == 1
    assert not following.look()
    api.data = {"graph.yaml": GRAPH % 2}
    assert following.look()
    api.data = None
    assert not following.look()
    assert yaml.safe_load(file.read_text())["metadata"]["revision"] == 2


def test_what_is_no_graph_is_refused_and_the_file_stays(
    api: ApiServer, following: GraphFollowing, tmp_path: Path
) -> None:
    api.data = {"graph.yaml": GRAPH % 1}
    following.look()
    api.data = {"graph.yaml": GRAPH.replace("root: a", "root: b") % 2}
    with pytest.raises(BadInput):
        following.look()
    assert yaml.safe_load((tmp_path / "graphs/m.yaml").read_text())["metadata"]["revision"] == 1
    assert not list((tmp_path / "graphs").glob("*.new"))


def test_a_change_is_seen_within_the_promised_time_even_after_the_api_server_was_away(
    api: ApiServer, following: GraphFollowing, tmp_path: Path
) -> None:
    stop = threading.Event()
    thread = threading.Thread(target=following.run, args=(stop,))
    thread.start()
    try:
        api.data = {"graph.yaml": "not: a graph"}
        time.sleep(EVERY_S * 1.5)
        api.data = {"graph.yaml": GRAPH % 3}
        deadline = time.monotonic() + 5.0
        while not (tmp_path / "graphs/m.yaml").exists():
            assert time.monotonic() < deadline, "an edit takes effect within five seconds"
            time.sleep(0.05)
    finally:
        stop.set()
        thread.join()


def test_an_api_server_that_is_gone_is_unreachable(api: ApiServer, following: GraphFollowing) -> None:
    api.server.shutdown()
    api.server.server_close()
    try:
        with pytest.raises(Unreachable):
            following.look()
    finally:
        api.server = ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler)
        threading.Thread(target=api.server.serve_forever, args=(0.02,), daemon=True).start()
