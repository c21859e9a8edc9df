"""Bytes on a socket: what is HTTP/1.1 is answered in order, what could be read in two ways is refused and the connection ended."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from maestro.clients.home import Home
from maestro.serving.engine.door import Patience
from tests.serving.conftest import Client, Trained, Workshop, node, serving

pytestmark = pytest.mark.door

PATIENCE = Patience(idle=1.5, head=0.6, body=1.0, reading=1.0)


@pytest.fixture(scope="module")
def client(trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """A server with one model and little patience."""
    workshop = Workshop(Home(tmp_path_factory.mktemp("home")))
    version = workshop.register("1.0.0", {"model.onnx": trained.onnx}, trained.contract)
    workshop.graph({"a": node(version)}, "a")
    with serving(workshop, max_body_bytes=100_000, patience=PATIENCE) as client:
        yield client


@pytest.fixture
def body(trained: Trained) -> bytes:
    """One row."""
    return json.dumps({"instances": trained.rows[:1].tolist()}).encode()


@contextmanager
def connected(client: Client) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", int(client.base_url.port or 0)), timeout=5) as sock:
        yield sock


def post(body: bytes, *headers: bytes, path: bytes = b"/predict") -> bytes:
    lines = [b"POST " + path + b" HTTP/1.1", b"Host: h", b"Content-Length: %d" % len(body), *headers]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


class Reader:
    """Answers off a socket."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.data = b""

    def answer(self) -> tuple[int, dict[str, str], bytes]:
        while b"\r\n\r\n" not in self.data:
            self._more()
        head, _, self.data = self.data.partition(b"\r\n\r\n")
        line, *rest = head.decode().split("\r\n")
        status = int(line.split()[1])
        headers = dict(item.split(": ", 1) for item in rest)
        size = int(headers.get("content-length", "0"))
        while len(self.data) < size:
            self._more()
        body, self.data = self.data[:size], self.data[size:]
        return status, headers, body

    def ended(self) -> bool:
        try:
            return not self.data and self.sock.recv(65536) == b""
        except ConnectionResetError:
            return True

    def _more(self) -> None:
        data = self.sock.recv(65536)
        assert data, f"the connection ended after {self.data!r}"
        self.data += data


def told(client: Client, request: bytes) -> tuple[int, dict[str, str], bool]:
    """Status and headers of the first answer, and whether the connection ended after it."""
    with connected(client) as sock:
        sock.sendall(request)
        reader = Reader(sock)
        status, headers, _ = reader.answer()
        return status, headers, headers.get("connection") == "close" and reader.ended()


SMUGGLING = {
    "a length beside a coding": b"POST /predict HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "a coding beside a length": b"POST /predict HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
    "two lengths": b"POST /predict HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
    "two equal lengths": b"POST /predict HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\n{}",
    "a list of lengths": b"POST /predict HTTP/1.1\r\nHost: h\r\nContent-Length: 2, 2\r\n\r\n{}",
    "a signed length": b"POST /predict HTTP/1.1\r\nHost: h\r\nContent-Length: +2\r\n\r\n{}",
    "a hexadecimal length": b"POST /predict HTTP/1.1\r\nHost: h\r\nContent-Length: 0x2\r\n\r\n{}",
    "a length beyond all bounds": b"POST /predict HTTP/1.1\r\nHost: h\r\nContent-Length: 99999999999999999999\r\n\r\n{}",
    "a space before the colon": b"POST /predict HTTP/1.1\r\nHost: h\r\nContent-Length : 2\r\n\r\n{}",
    "a coding in two words": b"POST /predict HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "a coding that is not chunked": b"POST /predict HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: identity\r\n\r\n",
    "a coding with a tab": b"POST /predict HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
    "two codings": b"POST /predict HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
    "a coding in HTTP/1.0": b"POST /predict HTTP/1.0\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "a folded header": b"POST /predict HTTP/1.1\r\nHost: h\r\nX-A: b\r\n Content-Length: 5\r\nContent-Length: 2\r\n\r\n{}",
    "no host": b"GET /ping HTTP/1.1\r\n\r\n",
    "two hosts": b"GET /ping HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    "a chunk without a size": b"POST /predict HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n\r\n{}\r\n0\r\n\r\n",
    "a chunk with a bad size": b"POST /predict HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n{}\r\n0\r\n\r\n",
    "a chunk longer than it says": b"POST /predict HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{}\r\n0\r\n\r\n",
    "a line feed alone": b"POST /predict HTTP/1.1\nHost: h\nContent-Length: 2\n\n{}",
    "a nul in a value": b"GET /ping HTTP/1.1\r\nHost: h\r\nX-A: a\x00b\r\n\r\n",
    "no method": b" /ping HTTP/1.1\r\nHost: h\r\n\r\n",
    "a space in the target": b"GET /pi ng HTTP/1.1\r\nHost: h\r\n\r\n",
    "no version": b"GET /ping\r\nHost: h\r\n\r\n",
    "an authority as the target": b"CONNECT h:80 HTTP/1.1\r\nHost: h\r\n\r\n",
    "not HTTP at all": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(40),
}  # fmt: skip


@pytest.mark.parametrize("shape", SMUGGLING)
def test_what_two_readers_could_read_differently_is_refused(client: Client, shape: str, body: bytes) -> None:
    # A request that follows on the same connection is not answered, whatever it was smuggled in.
    status, _, ended = told(client, SMUGGLING[shape] + post(body))
    assert status in (400, 505), shape
    assert ended, shape
    assert client.get("/ping").status_code == 200


def test_requests_sent_at_once_are_answered_in_order(client: Client, trained: Trained) -> None:
    """Lane, data plane and control routes mixed: the slow ones hold up the fast ones' answers, not their order."""
    bodies = [json.dumps({"instances": [row]}).encode() for row in trained.rows[:40].tolist()]
    named = json.dumps(
        {"instances": [dict(zip(trained.contract.names, trained.rows[0].tolist(), strict=True))]}
    ).encode()
    stream = b""
    expected: list[list[int] | None] = []
    for number, body in enumerate(bodies):
        stream += post(body)
        expected.append([trained.answers[number]])
        if number % 7 == 0:
            stream += b"GET /v2/models/m HTTP/1.1\r\nHost: h\r\n\r\n" + post(named)
            expected += [None, [trained.answers[0]]]
    with connected(client) as sock:
        sock.sendall(stream)
        reader = Reader(sock)
        for wanted in expected:
            status, _, answer = reader.answer()
            assert status == 200
            assert wanted is None or json.loads(answer)["predictions"] == wanted


@pytest.mark.parametrize("size", [1, 2, 7, 60])
def test_requests_that_come_in_pieces_are_put_together(client: Client, trained: Trained, size: int) -> None:
    bodies = [json.dumps({"instances": [row]}).encode() for row in trained.rows[:3].tolist()]
    stream = b"".join(post(body) for body in bodies)
    with connected(client) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for start in range(0, len(stream), size):
            sock.sendall(stream[start : start + size])
        reader = Reader(sock)
        assert [json.loads(reader.answer()[2])["predictions"] for _ in bodies] == [[a] for a in trained.answers[:3]]


def test_a_body_in_chunks_with_trailers_is_read(client: Client, body: bytes, trained: Trained) -> None:
    chunks = b"".join(b"%x;note=1\r\n%s\r\n" % (len(part), part) for part in (body[:5], body[5:]))
    request = b"POST /predict HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\n"
    with connected(client) as sock:
        # A trailer is no header: this one would change the media type, were it taken for one.
        sock.sendall(request + b"Content-Type: application/xml\r\n\r\n" + post(body))
        reader = Reader(sock)
        for _ in range(2):
            status, _, answer = reader.answer()
            assert (status, json.loads(answer)) == (200, {"predictions": trained.answers[:1]})


def test_a_caller_that_waits_for_a_hundred_is_told_to_go_on(client: Client, body: bytes) -> None:
    head, _, _ = post(body, b"Expect: 100-continue").partition(b"\r\n\r\n")
    with connected(client) as sock:
        sock.sendall(head + b"\r\n\r\n")
        reader = Reader(sock)
        assert reader.answer()[0] == 100
        sock.sendall(body)
        assert reader.answer()[0] == 200
    status, _, ended = told(client, head.replace(b"%d" % len(body), b"999999") + b"\r\n\r\n")
    assert (status, ended) == (413, True)
    assert told(client, head.replace(b"100-continue", b"a-miracle") + b"\r\n\r\n")[::2] == (417, True)


def test_keep_alive_is_as_the_caller_says(client: Client, body: bytes) -> None:
    assert told(client, post(body, b"Connection: close"))[::2] == (200, True)
    old = b"GET /ping HTTP/1.0\r\n\r\n"
    assert told(client, old)[::2] == (200, True)
    with connected(client) as sock:
        reader = Reader(sock)
        for _ in range(2):
            sock.sendall(b"GET /ping HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
            status, headers, _ = reader.answer()
            assert (status, headers["connection"]) == (200, "keep-alive")
    with connected(client) as sock:
        sock.sendall(b"HEAD /predict HTTP/1.1\r\nHost: h\r\n\r\n" + post(body))
        reader = Reader(sock)
        data = b""
        while data.count(b"HTTP/1.1 ") < 2:
            data += sock.recv(65536)
        assert data.index(b"HTTP/1.1 200") == data.index(b"\r\n\r\n") + 4, "an answer to HEAD has no body"
        assert reader.data == b""


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\nHost: h\r\n\r\n", 414),
        (b"GET /ping HTTP/1.1\r\nHost: h\r\nX-A: " + b"a" * 40_000 + b"\r\n\r\n", 431),
        (b"GET /ping HTTP/1.1\r\nHost: h\r\n" + b"X-A: a\r\n" * 200 + b"\r\n", 431),
        (b"GET /ping HTTP/1.1\r\nHost: h\r\nX-A: " + b"a" * 60_000, 431),
    ],
    ids=["target", "header", "headers", "no end"],
)
def test_heads_are_bounded(client: Client, request_: bytes, status: int) -> None:
    assert told(client, request_)[::2] == (status, True)


def test_who_is_slow_loses_the_connection_and_no_one_else(client: Client, body: bytes) -> None:
    with connected(client) as head, connected(client) as drip, connected(client) as idle:
        head.sendall(b"POST /predict HTTP/1.1\r\nX-A: ")
        began = time.monotonic()
        drip.sendall(post(body)[:-5])
        readers = [Reader(head), Reader(drip), Reader(idle)]
        while time.monotonic() - began < 1.2:
            client.post("/predict", content=body).raise_for_status()
            time.sleep(0.2)
            try:
                head.sendall(b"P")  # a byte now and then buys no time
            except OSError:
                break
        assert readers[0].answer()[0] == 408
        assert readers[1].answer()[0] == 408
        assert readers[2].ended()
        assert time.monotonic() - began < 4


def test_a_caller_that_does_not_read_is_not_written_for_without_end(client: Client, trained: Trained) -> None:
    body = json.dumps({"instances": trained.rows[:200].tolist()}).encode()
    with connected(client) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.settimeout(0.3)
        sent = 0
        try:
            for _ in range(20_000):
                sock.sendall(post(body))
                sent += 1
        except (TimeoutError, ConnectionError):
            pass
        assert sent < 20_000, "everything was taken in without anything being taken out"
        assert client.get("/ping").status_code == 200


def test_upgrades_are_answered_in_this_protocol(client: Client, body: bytes) -> None:
    request = b"GET /ping HTTP/1.1\r\nHost: h\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAM\r\n\r\n"
    assert told(client, request + post(body))[::2] == (200, True)


def test_the_absolute_form_is_taken(client: Client, body: bytes) -> None:
    assert told(client, post(body, path=b"http://elsewhere.example/predict"))[0] == 200
