"""Features from a feature server that is slow, gone, broken or asks for a key."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError

from maestro.clients.feature_server import FeatureServer
from maestro.core.errors import BadInput, MaestroError, NotFound, Unreachable
from maestro.core.settings import ServingSettings
from maestro.serving.feature_sources import LazyFeatures, ServedFeatures, feature_source


class Server(ThreadingHTTPServer):
    """Answers as Feast does, or as it is told; keeps what it was asked."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.asked: list[dict[str, Any]] = []
        self.tokens: list[str | None] = []
        self.said: tuple[int, bytes] | None = None
        self.wait_s = 0.0
        self.trickle: tuple[int, float] | None = None
        self.cut = 0


class Handler(BaseHTTPRequestHandler):
    """Connections stay open, unless `cut` of the server says that they break; `trickle` says how many bytes go at once, and the seconds between."""

    protocol_version = "HTTP/1.1"
    server: Server

    def do_GET(self) -> None:
        self._send(200, b"{}" + b" " * 500)

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.server.asked.append(body)
        self.server.tokens.append(self.headers["authorization"])
        time.sleep(self.server.wait_s)
        if self.server.cut:
            self.server.cut -= 1
            self.close_connection = True
            return
        ids = body.get("entities", {}).get("id", [])
        answer = {
            "metadata": {"feature_names": ["id", "x"]},
            "results": [{"values": ids}, {"values": [i / 2 for i in ids]}],
        }
        self._send(*(self.server.said or (200, json.dumps(answer).encode())))

    def _send(self, status: int, content: bytes) -> None:
        if self.server.trickle is not None:
            self._trickle(status, content, *self.server.trickle)
            return
        self.send_response(status)
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _trickle(self, status: int, content: bytes, size: int, pause_s: float) -> None:
        head = f"HTTP/1.1 {status} So\r\ncontent-length: {len(content)}\r\n\r\n"
        data = head.encode() + content
        self.close_connection = True
        with contextlib.suppress(ConnectionError):
            for start in range(0, len(data), size):
                self.wfile.write(data[start : start + size])
                time.sleep(pause_s)

    def log_message(self, format: str, *args: Any) -> None:
        return


@contextmanager
def asking(url: str, timeout_s: float = 2.0, key: Path | None = None) -> Iterator[ServedFeatures]:
    source = ServedFeatures(url, timeout_s, key)
    try:
        yield source
    finally:
        source.close()


@contextmanager
def running() -> Iterator[Server]:
    server = Server()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def server() -> Iterator[Server]:
    with running() as found:
        yield found


def ids(*numbers: int) -> list[dict[str, Any]]:
    return [{"id": number} for number in numbers]


def test_rows_come_in_the_order_asked_for_without_the_key(server: Server) -> None:
    with asking(server.url) as source:
        source.open("s")
        assert source.get("s", ids(4, 2)) == [{"x": 2.0}, {"x": 1.0}]
    assert server.asked == [{"feature_service": "s", "entities": {"id": [4, 2]}}]
    assert server.tokens == [None]


def test_the_key_is_read_again_when_it_changes(server: Server, tmp_path: Path) -> None:
    key = tmp_path / "key"
    with asking(server.url, key=key) as source:
        source.get("s", ids(1))
        for token in ("one", "two"):
            key.write_text(token + "\n")
            source.get("s", ids(1))
        assert server.tokens == [None, "Bearer one", "Bearer two"]
        key.write_text("secret-one\nsecret-two\n")
        with pytest.raises(Unreachable, match="not one line of ASCII") as refused:
            source.get("s", ids(1))
        assert "secret" not in str(refused.value.problem())
        key.unlink()
        key.mkdir()
        with pytest.raises(Unreachable, match="key cannot be read"):
            source.get("s", ids(1))


def test_a_connection_that_broke_is_made_again_once(server: Server) -> None:
    with asking(server.url) as source:
        server.cut = 1
        assert source.get("s", ids(2)) == [{"x": 1.0}]
        assert len(server.asked) == 2
        server.cut = 2
        with pytest.raises(Unreachable):
            source.get("s", ids(2))


@pytest.mark.parametrize(
    ("status", "said", "error"),
    [
        (500, b'"Error 111 connecting to redis"', Unreachable),
        (503, b"no healthy upstream", Unreachable),
        (404, b'"Feature service s does not exist"', NotFound),
        (422, b'{"detail": "entities"}', BadInput),
        (500, b"\"invalid literal for int() with base 10: 'abc'\"", BadInput),
        (500, b'"Exceeds the limit (4300 digits) for integer string conversion: value has 5000 digits"', BadInput),
        (200, b'{"metadata": {"feature_names": [1]}, "results": [{"values": [1]}]}', Unreachable),
        (200, b"<html>", Unreachable),
        (200, b"[]", Unreachable),
        (200, b'{"metadata": {"feature_names": ["x"]}, "results": [{"values": []}]}', Unreachable),
        (200, b'{"metadata": {"feature_names": ["x", "y"]}, "results": [{"values": [1]}]}', Unreachable),
    ],
)
def test_what_it_refuses_and_what_it_cannot_say(
    server: Server, status: int, said: bytes, error: type[MaestroError]
) -> None:
    server.said = (status, said)
    with asking(server.url) as source, pytest.raises(error) as told:
        source.get("s", ids(1))
    assert "feature server" in told.value.detail


def test_a_silent_server_costs_its_time_and_one_that_is_gone_none(server: Server) -> None:
    server.wait_s = 0.5
    began = time.monotonic()
    with asking(server.url, 0.1) as source, pytest.raises(Unreachable):
        source.get("s", ids(1))
    assert time.monotonic() - began < 0.4
    with asking("http://127.0.0.1:9") as gone:
        for ask in (lambda: gone.open("s"), lambda: gone.get("s", ids(1))):
            with pytest.raises(Unreachable, match="does not answer"):
                ask()


@pytest.mark.parametrize("size", [1, 60])
def test_a_server_that_trickles_costs_no_more_than_one_that_is_silent(server: Server, size: int) -> None:
    """In the head of its answer, and in the body: every read is in time, and the whole is not."""
    server.trickle = (size, 0.05 if size == 1 else 0.15)
    server.said = (200, b" " * 2000)
    with asking(server.url, 0.3) as source:
        for ask in (lambda: source.get("s", ids(1)), lambda: source.open("s")):
            began = time.monotonic()
            with pytest.raises(Unreachable, match="does not answer: not within"):
                ask()
            assert time.monotonic() - began < 1.5


def test_all_requests_of_a_look_up_share_its_time(server: Server) -> None:
    server.wait_s = 0.25
    with asking(server.url, 1.2) as source:
        assert len(source.get("s", ids(*range(600)))) == 600
        began = time.monotonic()
        with pytest.raises(Unreachable, match="not within"):
            source.get("s", ids(*range(3500)))
        assert time.monotonic() - began < 1.7
        assert source.get("s", ids(2)) == [{"x": 1.0}], "and the next one has its own"


def test_the_settings_choose(tmp_path: Path) -> None:
    assert isinstance(feature_source(ServingSettings(), tmp_path), LazyFeatures)
    named = feature_source(ServingSettings(feature_server="http://feast:6566"), tmp_path)
    assert isinstance(named, ServedFeatures)
    with pytest.raises(ValidationError, match="feature_server"):
        ServingSettings(feature_server="feast:6566")


def test_the_names_of_features_are_held_once(server: Server) -> None:
    """What is remembered of an entity is then as large as the cache believes."""
    server.said = (200, b'{"metadata": {"feature_names": ["visits_a_week"]}, "results": [{"values": [7]}]}')
    with asking(server.url) as source:
        (one,), (other,) = source.get("s", ids(1)), source.get("s", ids(2))
    assert isinstance(one, dict)
    assert isinstance(other, dict)
    assert [id(name) for name in one] == [id(name) for name in other]


def test_rows_are_written_with_what_is_missing_in_them(server: Server) -> None:
    times = pd.to_datetime(["2026-01-01", "2026-01-02"], utc=True)
    frame = pd.DataFrame({"id": [1, 2], "x": [0.5, np.nan], "word": [None, "w"], "event_timestamp": times})
    with closing(FeatureServer(server.url)) as writing:
        writing.write("people", frame)
    (asked,) = server.asked
    assert asked["df"] == {
        "id": [1, 2],
        "x": [0.5, None],
        "word": [None, "w"],
        "event_timestamp": ["2026-01-01 00:00:00+00:00", "2026-01-02 00:00:00+00:00"],
    }
