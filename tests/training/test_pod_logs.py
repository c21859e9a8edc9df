"""Reading a pod's log from any offset, against a server that answers as a kubelet's log does: dated lines, times cut to seconds, limits in bytes."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from maestro.clients.kubernetes.connection import Connection
from maestro.clients.kubernetes.objects import Cluster
from maestro.training.backends.pod_logs import PodLogs


@dataclass
class Log:
    """What the container has written, each line at its time."""

    lines: list[tuple[str, str]] = field(default_factory=list)
    unfinished: str = ""
    since: list[str] = field(default_factory=list)

    def write(self, second: int, text: str, nanos: int = 0) -> None:
        self.lines.append((f"2026-01-01T00:00:{second:02d}.{nanos:09d}Z", text))

    def answer(self, query: dict[str, list[str]]) -> bytes:
        since = query.get("sinceTime", [""])[0]
        self.since.append(since)
        shown = [f"{at} {text}\n" for at, text in self.lines if at[:19] >= since[:19]]
        data = ("".join(shown) + self.unfinished).encode()
        return data[: int(query["limitBytes"][0])] if "limitBytes" in query else data


@pytest.fixture
def log() -> Log:
    return Log()


@pytest.fixture
def logs(log: Log, tmp_path: Path) -> Iterator[PodLogs]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            url = urlsplit(self.path)
            kinds = {"resources": [{"name": "pods", "kind": "Pod", "namespaced": True}]}
            is_log = url.path == "/api/v1/namespaces/n/pods/p/log"
            content = log.answer(parse_qs(url.query)) if is_log else json.dumps(kinds).encode()
            self.send_response(200)
            self.send_header("Content-Type", "text/plain" if is_log else "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *arguments: object) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    path = tmp_path / "kubeconfig"
    path.write_text(json.dumps({
        "apiVersion": "v1", "kind": "Config", "current-context": "t", "users": [{"name": "u", "user": {}}],
        "clusters": [{"name": "c", "cluster": {"server": f"http://127.0.0.1:{server.server_address[1]}"}}],
        "contexts": [{"name": "t", "context": {"cluster": "c", "user": "u"}}],
    }))  # fmt: skip
    yield PodLogs(Cluster(Connection.load(path)), "n")
    server.shutdown()
    server.server_close()
    thread.join(5)


def test_each_line_once_in_order(logs: PodLogs, log: Log) -> None:
    log.write(1, "a")
    log.write(1, "b", 5)
    lines, offset = logs.read("h", "p", 0, ended=False)
    assert (lines, offset) == (["a", "b"], 2)
    assert logs.read("h", "p", offset, ended=False) == ([], 2)
    log.write(1, "c", 5)  # the very instant of the last
    log.write(3, "d")
    assert logs.read("h", "p", offset, ended=False) == (["c", "d"], 4)
    assert log.since == ["", "2026-01-01T00:00:01Z", "2026-01-01T00:00:01Z"]


def test_another_worker_goes_on_from_the_offset(logs: PodLogs, log: Log) -> None:
    for second in range(6):
        log.write(second, f"line {second}")
    assert logs.read("h", "p", 4, ended=False) == (["line 4", "line 5"], 6)
    assert logs.read("h", "p", 2, ended=False)[0] == ["line 2", "line 3", "line 4", "line 5"]


def test_a_line_that_is_being_written_waits_until_it_is_whole(logs: PodLogs, log: Log) -> None:
    log.write(1, "a")
    log.unfinished = "2026-01-01T00:00:02.000000000Z hal"
    assert logs.read("h", "p", 0, ended=False) == (["a"], 1)
    assert logs.read("h", "p", 1, ended=True) == (["hal"], 2)


def test_more_than_is_read_at_once(logs: PodLogs, log: Log) -> None:
    for index in range(3000):
        log.write(index // 1000, f"{index} " + "x" * 1000, index)
    offset, lines = 0, []
    while True:
        more, offset = logs.read("h", "p", offset, ended=False)
        if not more:
            break
        lines += more
    assert [int(line.split()[0]) for line in lines] == list(range(3000))
    assert logs.read("again", "p", 2990, ended=False)[1] == 3000
