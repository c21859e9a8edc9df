"""Digests from a registry that speaks the distribution protocol, with and without a token."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from maestro.clients.oci_registry import local_digest, remote_digest
from maestro.core.errors import NotFound, Unreachable

DIGEST = "sha256:" + "b" * 64


class Registry(BaseHTTPRequestHandler):
    """Holds one public image and one that asks for a token."""

    def do_HEAD(self) -> None:
        host = self.headers["Host"]
        if self.path == "/v2/private/app/manifests/v1" and self.headers.get("Authorization") != "Bearer let-me":
            self.send_response(401)
            self.send_header(
                "WWW-Authenticate",
                f'Bearer realm="http://{host}/token",service="s",scope="repository:private/app:pull"',
            )
        elif self.path in {"/v2/public/app/manifests/v1", "/v2/private/app/manifests/v1"}:
            self.send_response(200)
            self.send_header("Docker-Content-Digest", DIGEST)
        elif self.path == "/v2/broken/app/manifests/v1":
            self.send_response(200)
            self.send_header("Docker-Content-Digest", "sha256:nonsense")
        else:
            self.send_response(404)
        self.end_headers()

    def do_GET(self) -> None:
        body = json.dumps({"token": "let-me"}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None: ...


@pytest.fixture(scope="module")
def registry() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Registry)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


def test_the_registry_tells_the_digest(registry: str) -> None:
    assert remote_digest(f"{registry}/public/app", "v1") == DIGEST


def test_a_token_is_fetched_where_it_is_asked_for(registry: str) -> None:
    assert remote_digest(f"{registry}/private/app", "v1") == DIGEST


def test_nothing_is_invented(registry: str) -> None:
    with pytest.raises(NotFound, match="has no none/app:v1"):
        remote_digest(f"{registry}/none/app", "v1")
    with pytest.raises(Unreachable, match="answers 200"):
        remote_digest(f"{registry}/broken/app", "v1")
    with pytest.raises(Unreachable, match=r"registry 127\.0\.0\.1:9"):
        remote_digest("127.0.0.1:9/public/app", "v1", timeout_s=2)
    assert local_digest("localhost/never/built:0") is None
