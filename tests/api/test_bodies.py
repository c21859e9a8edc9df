"""What a body may be: bounded, I-JSON, of the right type; the same for every route that takes one."""

from __future__ import annotations

import json
import tracemalloc
from typing import Any

import anyio
import pytest
from fastapi.testclient import TestClient

from maestro.api.bodies import MAX_DEPTH
from tests.api.conftest import FILE_JOB, Plane, address, ask, routes

pytestmark = pytest.mark.shows("N5", env="laptop")

BROKEN: list[tuple[str, bytes, int]] = [
    ("cut off", b'{"name": ', 400),
    ("no JSON", b"name: e", 400),
    ("NaN", b'{"name": "e", "tags": {"a": NaN}}', 400),
    ("infinity", b'{"name": "e", "tags": {"a": -Infinity}}', 400),
    ("too large for a double", b'{"name": "e", "tags": {"a": 1e999}}', 400),
    ("too large to be exact", b'{"name": "e", "tags": {"a": 9007199254740993}}', 400),
    ("very many digits", b'{"name": "e", "tags": {"a": ' + b"9" * 10_000 + b"}}", 400),
    ("broken UTF-8", b'{"name": "\xff\xfe"}', 400),
    ("UTF-16", '{"name": "e"}'.encode("utf-16"), 400),
    ("half a character", b'{"name": "e", "tags": {"a": "\\ud800"}}', 400),
    ("half a character as a name", b'{"name": "e", "tags": {"\\udfff": "a"}}', 400),
    ("a name twice", b'{"name": "e", "name": "f"}', 400),
    ("too deep", b'{"name": "e", "tags": ' + b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1) + b"}", 400),
    ("far too deep", b"[" * 100_000, 400),
    ("deep and whole", b"[" * 100_000 + b"]" * 100_000, 400),
    ("NUL", b'{"name": "e", "tags": {"a": "\\u0000"}}', 422),
    ("a list", b"[]", 422),
    ("null", b"null", 422),
    ("nothing", b"", 422),
    ("a number as text", b'{"name": 7}', 422),
    ("text as a list", b'{"name": "e", "tags": []}', 422),
    ("unknown field", b'{"name": "e", "nmae": "e"}', 422),
]


@pytest.mark.parametrize(("body", "status"), [case[1:] for case in BROKEN], ids=[case[0] for case in BROKEN])
def test_what_is_no_document_is_refused_by_every_route(
    client: TestClient, shared_plane: Plane, body: bytes, status: int
) -> None:
    headers = shared_plane.key("user") | {"Content-Type": "application/json"}
    taking = [(method, path) for method, path, operation in routes(shared_plane) if "requestBody" in operation]
    assert len(taking) > 12
    for method, path in taking:
        answer = client.request(method, address(path, shared_plane), content=body, headers=headers)
        assert answer.status_code == status, f"{method} {path}: {answer.text}"
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["field"]


@pytest.mark.parametrize(
    "kind",
    [None, "", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "application/xml"],
)
def test_another_content_type_is_not_read(client: TestClient, shared_plane: Plane, kind: str | None) -> None:
    headers = shared_plane.key("user") | ({} if kind is None else {"Content-Type": kind})
    answer = client.post("/rollouts/rollback", content=b'{"model": "churn"}', headers=headers)
    assert answer.status_code == 415
    assert answer.json()["remedy"] == "send application/json"


def test_numbers_texts_and_booleans_are_not_mistaken_for_each_other(client: TestClient, shared_plane: Plane) -> None:
    key = shared_plane.key("user")
    for wrong in ({"workers": True}, {"workers": "1"}, {"timeout_s": 1.5}, {"name": 5}, {"resources": {"gpu": False}}):
        answer = ask(client, "POST", "/ai/training/jobs/start", FILE_JOB | wrong, key)
        assert answer.status_code == 422, wrong
        assert answer.json()["field"].startswith(next(iter(wrong)))


@pytest.mark.parametrize("declared", [True, False], ids=["declared", "chunked"])
@pytest.mark.parametrize("size_mb", [2, 100])
def test_a_body_over_the_limit_is_refused_and_not_kept(shared_plane: Plane, declared: bool, size_mb: int) -> None:
    """Sent in pieces of which one object exists: were they kept, 100 MB would be allocated."""
    piece = b" " * 2**20

    async def send() -> tuple[int, int]:
        sent = 0

        async def receive() -> dict[str, Any]:
            nonlocal sent
            sent += 1
            # a copy, as a server's own buffer would be
            return {"type": "http.request", "body": bytes(bytearray(piece)), "more_body": sent < size_mb}

        answered: list[dict[str, Any]] = []

        async def answer(message: Any) -> None:
            answered.append(message)

        headers = [
            (b"content-type", b"application/json"),
            (b"authorization", shared_plane.key("user")["Authorization"].encode()),
        ]
        if declared:
            headers.append((b"content-length", str(size_mb * 2**20).encode()))
        scope = {
            "type": "http", "method": "POST", "path": "/rollouts/plan", "raw_path": b"/rollouts/plan", "query_string": b"",
            "headers": headers, "http_version": "1.1", "scheme": "http", "server": ("testserver", 80), "client": ("c", 1),
            "root_path": "", "asgi": {"version": "3.0"},
        }  # fmt: skip
        await shared_plane.app(scope, receive, answer)
        document = json.loads(answered[1]["body"])
        assert document["type"] == "urn:maestro:problem:too-large"
        assert (b"connection", b"close") in answered[0]["headers"]
        return int(answered[0]["status"]), sent

    tracemalloc.start()
    status, sent = anyio.run(send)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (status, sent) == (413, size_mb)
    assert peak < 12 * 2**20


def test_a_stranger_s_body_is_not_even_read(shared_plane: Plane) -> None:
    async def send() -> int:
        answered: list[dict[str, Any]] = []

        async def receive() -> dict[str, Any]:
            raise AssertionError("the body was asked for")

        async def answer(message: Any) -> None:
            answered.append(message)

        scope = {
            "type": "http", "method": "POST", "path": "/principals", "raw_path": b"/principals", "query_string": b"",
            "headers": [(b"content-length", b"99")], "http_version": "1.1", "scheme": "http", "server": ("s", 80),
            "client": ("c", 1), "root_path": "", "asgi": {"version": "3.0"},
        }  # fmt: skip
        await shared_plane.app(scope, receive, answer)
        return int(answered[0]["status"])

    assert anyio.run(send) == 401
