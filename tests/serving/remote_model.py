"""A scripted server of the Open Inference Protocol: a model whose answers are known, and whose faults are asked for."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

POISON = -1.0
"""A first value for which a whole request is refused."""
CRASH = -2.0
"""A first value for which a whole request fails."""


def right(row: list[Any]) -> float:
    """The answer to a row, whatever its columns are called."""
    return float(sum(len(value) if isinstance(value, str) else float(value or 0) for value in row))


@dataclass
class RemoteModel:
    """Answers until it is told otherwise; remembers what it was asked.

    Args:
        delay_s: before each answer.
        most: rows in one request; more are refused.
        version: what it says it is.
        slow: looks at the rows first: seconds more before their answer.
        fault: looks at the rows first: the bytes to be sent instead of an answer (empty bytes close the connection), or None.
        ends: the last bytes of the connection, sent instead of an answer, or None.
    """

    delay_s: float = 0.0
    most: int = 10_000
    version: str = "3.0.0"
    slow: Callable[[list[list[Any]]], float] = lambda rows: 0.0
    fault: Callable[[list[list[Any]]], bytes | None] = lambda rows: None
    ends: Callable[[list[list[Any]]], bytes | None] = lambda rows: None
    shape: Callable[[list[float]], tuple[str, list[Any]]] = lambda values: ("FP64", values)
    asked: list[list[list[Any]]] = field(default_factory=list)
    columns: list[tuple[tuple[str, str], ...]] = field(default_factory=list)
    parents: list[str | None] = field(default_factory=list)

    @property
    def sizes(self) -> list[int]:
        """Rows of each request."""
        return [len(rows) for rows in self.asked]

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).lower()
                length = int(head.partition(b"content-length: ")[2].split(b"\r")[0])
                parent = head.partition(b"traceparent: ")[2].split(b"\r")[0].decode()
                inputs = json.loads(await reader.readexactly(length))["inputs"]
                rows = rows_of(inputs)
                self.asked.append(rows)
                self.columns.append(tuple((each["name"], each["datatype"]) for each in inputs))
                self.parents.append(parent or None)
                delay_s = self.delay_s + self.slow(rows)
                if delay_s:
                    await asyncio.sleep(delay_s)
                last = self.ends(rows)
                if last is not None:
                    writer.write(last)
                    break
                answer = self.answer(rows)
                if not answer:
                    break
                writer.write(answer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    def answer(self, rows: list[list[Any]]) -> bytes:
        """The answer to one request, as bytes."""
        fault = self.fault(rows)
        if fault is not None:
            return fault
        firsts = [row[0] for row in rows if row]
        if POISON in firsts or len(rows) > self.most:
            return http(400, {"error": "a row is poison"})
        if CRASH in firsts:
            return http(500, {"error": "a row is more than it can bear"})
        datatype, data = self.shape([right(row) for row in rows])
        output = {"name": "predict", "shape": [len(rows)], "datatype": datatype, "data": data}
        return http(200, {"model_name": "m", "model_version": self.version, "outputs": [output]})


def rows_of(inputs: list[dict[str, Any]]) -> list[list[Any]]:
    """Tensors as rows; they must agree on how many there are."""
    count = inputs[0]["shape"][0]
    rows: list[list[Any]] = [[] for _ in range(count)]
    for tensor in inputs:
        size, width = tensor["shape"]
        if size != count or size * width != len(tensor["data"]):
            raise AssertionError(f"{tensor['name']}: {tensor['shape']} holds no {len(tensor['data'])} values")
        for number, row in enumerate(rows):
            row += tensor["data"][number * width : (number + 1) * width]
    return rows


def http(status: int, document: dict[str, Any] | bytes) -> bytes:
    """A whole answer."""
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    return b"HTTP/1.1 %d So\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s" % (
        status,
        len(body),
        body,
    )


async def serving(model: RemoteModel, ask: Callable[[str], Awaitable[Any]]) -> Any:
    """What `ask` gives while the model is served; it gets the model's address."""
    server = await asyncio.start_server(model, "127.0.0.1", 0)
    try:
        return await ask(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v2/models/m")
    finally:
        server.close()
        await server.wait_closed()


@contextmanager
def standing(model: RemoteModel) -> Iterator[str]:
    """The model's address, while it is served by a thread."""
    started, addresses = threading.Event(), list[str]()
    ended: list[Callable[[], object]] = []

    def work() -> None:
        async def stand(url: str) -> None:
            done = asyncio.Event()
            loop = asyncio.get_running_loop()
            ended.append(lambda: loop.call_soon_threadsafe(done.set))
            addresses.append(url)
            started.set()
            await done.wait()

        asyncio.run(serving(model, stand))

    thread = threading.Thread(target=work)
    thread.start()
    assert started.wait(10)
    try:
        yield addresses[0]
    finally:
        ended[0]()
        thread.join()
