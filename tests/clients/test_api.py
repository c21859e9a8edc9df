"""The client of our own services: problem documents become the errors they came from."""

from __future__ import annotations

import inspect
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from maestro.clients.api import ApiClient, credential
from maestro.core import errors
from maestro.core.errors import MaestroError, Unreachable
from maestro.core.settings import settings

KINDS = {
    kind.slug: kind
    for kind in vars(errors).values()
    if inspect.isclass(kind) and issubclass(kind, MaestroError) and kind.status >= 400
}


class _Answers(BaseHTTPRequestHandler):
    """`/problem/<slug>` answers that error's document; other paths tell what was asked."""

    def do_GET(self) -> None:
        what = self.path.split("?")[0]
        if what == "/stream":
            self._send(200, b"event: progress\ndata: {}\n\ndata: end\n\n", "text/event-stream")
        elif what == "/broken":
            self._send(502, b"<html>", "text/html")
        elif what.startswith("/problem/"):
            error = KINDS[what.rsplit("/", 1)[-1]]("it is wrong", remedy="mend it", field="a.b", retry_after=7)
            self._send(error.status, json.dumps(error.problem()).encode(), "application/problem+json")
        else:
            body = {"path": self.path, "authorization": self.headers.get("Authorization")}
            self._send(200, json.dumps(body).encode(), "application/json")

    def do_DELETE(self) -> None:
        self._send(204, b"", "application/json")

    def _send(self, status: int, body: bytes, kind: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Stay silent."""


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Answers)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("slug", sorted(KINDS))
def test_a_problem_makes_the_round_trip(url: str, slug: str) -> None:
    client = ApiClient(url)
    with pytest.raises(MaestroError) as caught:
        client.get(f"/problem/{slug}")
    assert type(caught.value) is KINDS[slug]
    assert (caught.value.detail, caught.value.remedy, caught.value.field) == ("it is wrong", "mend it", "a.b")
    assert caught.value.extra == {"retry_after": 7}
    client.close()


def test_an_answer_that_is_no_problem_document_is_unreachable(url: str) -> None:
    with pytest.raises(Unreachable, match="answered 502"):
        ApiClient(url).get("/broken")


def test_no_answer_is_unreachable_and_names_the_setting() -> None:
    with pytest.raises(Unreachable, match="does not answer") as caught:
        ApiClient("http://127.0.0.1:1", service="server").get("/")
    assert "MAESTRO_SERVER_URL" in caught.value.remedy
    assert caught.value.exit_code == 3


def test_credentials_and_parameters_are_sent_and_none_is_left_out(url: str) -> None:
    answer = ApiClient(url, "mk_1_s").get("/x", page=2, status=None)
    assert answer == {"path": "/x?page=2", "authorization": "Bearer mk_1_s"}
    assert ApiClient(url).delete("/x") is None


def test_server_sent_events_end_with_the_stream(url: str) -> None:
    assert list(ApiClient(url).events("/stream")) == [{"event": "progress", "data": "{}"}, {"data": "end"}]


def test_the_credential_is_the_environments_else_the_homes(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert credential() is None
    (home / "keys").mkdir()
    (home / "keys" / "user.token").write_text("mk_own\n")
    assert credential() == "mk_own"
    monkeypatch.setenv("MAESTRO_API_KEY", "mk_set")
    settings.cache_clear()
    assert credential() == "mk_set"
