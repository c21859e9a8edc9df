"""What asks remote nodes, over real sockets: connections are used again, and whatever a server does wrong is told, never taken for an answer."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from maestro.serving.graph import remote_http
from maestro.serving.graph.remote_http import RemoteClient, RemoteUnheard

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
Reader = asyncio.StreamReader
Writer = asyncio.StreamWriter


class Server:
    """Answers by a script; remembers what it was asked and on how many connections."""

    def __init__(self, answer: Callable[[Server, Writer, int], Awaitable[None]]) -> None:
        self.answer = answer
        self.heads: list[bytes] = []
        self.bodies: list[bytes] = []
        self.connections = 0
        self.most = self.now = 0

    async def __call__(self, reader: Reader, writer: Writer) -> None:
        self.connections += 1
        number = self.connections
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().partition(b"content-length: ")[2].split(b"\r")[0])
                self.heads.append(head)
                self.bodies.append(await reader.readexactly(length))
                await self.answer(self, writer, number)
        except (asyncio.IncompleteReadError, asyncio.CancelledError, ConnectionError):
            pass
        finally:
            self.now -= 1
            writer.close()


def run(
    answer: Callable[[Server, Writer, int], Awaitable[None]],
    ask: Callable[[RemoteClient, str], Coroutine[Any, Any, Any]],
    key: Path | None = None,
) -> tuple[Any, Server]:
    """What the client found, and what the server saw."""
    script = Server(answer)

    async def scenario() -> Any:
        server = await asyncio.start_server(script, "127.0.0.1", 0)
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v2/models/m/infer"
        try:
            async with RemoteClient(key) as client:
                return await ask(client, url)
        finally:
            server.close()
            await server.wait_closed()

    return asyncio.run(scenario()), script


async def good(server: Server, writer: Writer, number: int) -> None:
    writer.write(OK)


def raw(*parts: bytes, close: bool = False) -> Callable[[Server, Writer, int], Awaitable[None]]:
    """These bytes, a part at a time."""

    async def answer(server: Server, writer: Writer, number: int) -> None:
        for part in parts:
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(0.01)
        if close:
            writer.close()

    return answer


async def once(client: RemoteClient, url: str) -> tuple[int, bytes]:
    return await client.post(url, b"{}", timeout_s=5.0, headers=(("traceparent", "00-a"),))


async def four(client: RemoteClient, url: str) -> list[tuple[int, bytes]]:
    return [await once(client, url) for _ in range(4)]


def test_one_connection_carries_one_request_after_another() -> None:
    found, server = run(good, four)
    assert found == [(200, b"ok")] * 4
    assert server.connections == 1
    assert server.bodies == [b"{}"] * 4
    head = server.heads[0]
    assert head.startswith(b"POST /v2/models/m/infer HTTP/1.1\r\nhost: 127.0.0.1:")
    assert b"content-type: application/json\r\n" in head
    assert b"traceparent: 00-a\r\n" in head


@pytest.mark.parametrize(
    ("parts", "close", "body"),
    [
        ((b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\no", b"k\r\n", b"0\r\n\r\n"), False, b"ok"),
        ((b"HTTP/1.1 100 Continue\r\n\r\n", OK), False, b"ok"),
        ((OK[:9], OK[9:30], OK[30:]), False, b"ok"),
        ((b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok",), True, b"ok"),
        ((b"HTTP/1.0 200 OK\r\n\r\n", b"o", b"k"), True, b"ok"),
        ((b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",), False, b""),
    ],
    ids=["chunks", "an answer that only announces another", "parts", "the last one", "until the end", "nothing"],
)
def test_every_form_of_an_answer_is_read(parts: tuple[bytes, ...], close: bool, body: bytes) -> None:
    found, server = run(raw(*parts, close=close), four)
    assert found == [(200, body)] * 4
    assert server.connections == (4 if close else 1)


@pytest.mark.parametrize(
    ("parts", "says"),
    [
        ((), "without an answer"),
        ((b"HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\nok",), "mid-answer"),
        ((b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n",), "mid-answer"),
        ((b"HTTP/1.1 200 OK\r\nConte",), "mid-answer"),
        ((b"SSH-2.0-OpenSSH\r\n",), "did not answer in HTTP"),
    ],
)
def test_what_is_no_whole_answer_is_told(parts: tuple[bytes, ...], says: str) -> None:
    async def ask(client: RemoteClient, url: str) -> None:
        with pytest.raises(RemoteUnheard, match=says):
            await once(client, url)

    _, server = run(raw(*parts, close=True), ask)
    assert server.connections == 1, "an attempt is one attempt"


def test_a_connection_that_was_closed_meanwhile_is_replaced() -> None:
    async def first_only(server: Server, writer: Writer, number: int) -> None:
        writer.write(OK)
        if number == 1:
            await writer.drain()
            writer.close()

    async def ask(client: RemoteClient, url: str) -> list[tuple[int, bytes]]:
        first = await once(client, url)
        await asyncio.sleep(0.05)
        return [first, *(await four(client, url))]

    found, server = run(first_only, ask)
    assert found == [(200, b"ok")] * 5
    assert server.connections == 2


def test_a_connection_that_is_closed_with_the_request_on_its_way_is_replaced() -> None:
    async def answers_once(server: Server, writer: Writer, number: int) -> None:
        if number == 1 and len(server.bodies) == 2:
            writer.close()
        else:
            writer.write(OK)

    found, server = run(answers_once, four)
    assert found == [(200, b"ok")] * 4
    assert (server.connections, len(server.bodies)) == (2, 5)


def test_what_ends_a_process_is_not_handed_to_all_of_them() -> None:
    """Each connection is another process of one server, as behind an address that several share."""
    together = asyncio.Event()

    async def crashing(server: Server, writer: Writer, number: int) -> None:
        if b"poison" in server.bodies[-1]:
            writer.close()
            return
        if len(server.bodies) == 4:
            together.set()
        await together.wait()
        writer.write(OK)

    async def ask(client: RemoteClient, url: str) -> None:
        await asyncio.gather(*(once(client, url) for _ in range(4)))
        with pytest.raises(RemoteUnheard, match="without an answer"):
            await client.post(url, b"poison", timeout_s=5.0)

    _, server = run(crashing, ask)
    assert server.bodies.count(b"poison") == 2


def test_what_answers_too_late_is_never_taken_for_the_next_answer() -> None:
    async def slow_first(server: Server, writer: Writer, number: int) -> None:
        if number == 1:
            await asyncio.sleep(0.2)
            writer.write(OK.replace(b"ok", b"no"))
        else:
            writer.write(OK)

    async def ask(client: RemoteClient, url: str) -> list[tuple[int, bytes]]:
        with pytest.raises(TimeoutError):
            await client.post(url, b"{}", timeout_s=0.05)
        found = await four(client, url)
        await asyncio.sleep(0.25)
        return [*found, *(await four(client, url))]

    found, _ = run(slow_first, ask)
    assert found == [(200, b"ok")] * 8


def test_an_answer_that_nobody_asked_for_ends_the_connection() -> None:
    found, server = run(raw(OK + OK), four)
    assert found == [(200, b"ok")] * 4
    assert server.connections > 1


def test_many_at_once_share_a_bounded_number_of_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote_http, "MAX_CONNECTIONS", 3)

    async def soon(server: Server, writer: Writer, number: int) -> None:
        await asyncio.sleep(0.005)
        writer.write(OK)

    async def ask(client: RemoteClient, url: str) -> list[tuple[int, bytes]]:
        return list(await asyncio.gather(*(once(client, url) for _ in range(30))))

    found, server = run(soon, ask)
    assert found == [(200, b"ok")] * 30
    assert server.most == 3


def test_an_answer_without_measure_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote_http, "MAX_ANSWER", 1000)

    async def ask(client: RemoteClient, url: str) -> None:
        with pytest.raises(RemoteUnheard, match="larger than 1000 bytes"):
            await once(client, url)

    run(raw(b"HTTP/1.1 200 OK\r\n\r\n", bytes(2000)), ask)


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("http://127.0.0.1:9/v2", "refused"),
        ("http:///v2", "address"),
        ("http://127.0.0.1:99999/v2", "address"),
        ("http://h\u0000/v2", "address"),
        ("http://127.0.0.1:9/a b", "address"),
    ],
)
def test_nobody_there(url: str, says: str) -> None:
    async def ask(client: RemoteClient, _: str) -> None:
        with pytest.raises(RemoteUnheard, match=says):
            await once(client, url)

    run(good, ask)


def test_a_name_and_a_password_in_the_address_are_said() -> None:
    async def ask(client: RemoteClient, url: str) -> Any:
        return await once(client, url.replace("http://", "http://ada:s%40t@"))

    _, server = run(good, ask)
    assert b"authorization: Basic YWRhOnNAdA==\r\n" in server.heads[0]


def test_the_key_is_said_anew_when_it_changes(tmp_path: Path) -> None:
    key = tmp_path / "key"

    async def ask(client: RemoteClient, url: str) -> None:
        await once(client, url)
        for text in ("mk_1\n", "mk_12"):
            key.write_text(text)
            await once(client, url)

    _, server = run(good, ask, key)
    said = [head.lower().partition(b"authorization: ")[2].split(b"\r")[0] for head in server.heads]
    assert said == [b"", b"bearer mk_1", b"bearer mk_12"]
