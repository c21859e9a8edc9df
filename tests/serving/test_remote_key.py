"""A remote node is asked by the key in a file, where one is named."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from maestro.serving.breaker import Breaker
from maestro.serving.graph._base import Answer, Call
from maestro.serving.graph.remote import RemoteRunner
from maestro.serving.graph.remote_http import RemoteClient
from maestro.serving.table import Table

KEYS: list[str | None] = []


@pytest.fixture
def server() -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            KEYS.append(self.headers.get("authorization"))
            output = {"name": "predict", "shape": [1], "datatype": "FP64", "data": [3.5]}
            body = json.dumps({"model_version": "2.0.0", "outputs": [output]}).encode()
            self.send_response(200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    KEYS.clear()
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as found:
        thread = threading.Thread(target=found.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{found.server_port}/v2/models/m"
        found.shutdown()
        thread.join()


def ask(url: str, key: Path | None, *, between: str | None = None) -> list[Answer]:
    async def twice() -> list[Answer]:
        async with RemoteClient(key) as client:
            runner = RemoteRunner("other", url, 5.0, client, Breaker())
            call = Call(Table(matrix=np.array([[1.0, 2.0]])))
            first = await runner.answer(call)
            if key is not None and between is not None:
                key.write_text(between)
            return [first, await runner.answer(call)]

    return asyncio.run(twice())


def test_without_a_key_nothing_is_said(server: str) -> None:
    assert ask(server, None)[0].prediction.values == [3.5]
    assert KEYS == [None, None]


def test_the_key_is_read_anew_when_it_changes(server: str, tmp_path: Path) -> None:
    key = tmp_path / "token"
    key.write_text("mk_1_first\n")
    assert [answer.version for answer in ask(server, key, between="mk_2_second")] == ["2.0.0", "2.0.0"]
    assert KEYS == ["Bearer mk_1_first", "Bearer mk_2_second"]


def test_a_key_that_is_not_there_yet_does_not_end_the_asking(server: str, tmp_path: Path) -> None:
    ask(server, tmp_path / "later")
    assert KEYS == [None, None]
