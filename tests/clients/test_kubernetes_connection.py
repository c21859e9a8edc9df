"""Who we are to an API server, as the kubeconfig says."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import yaml

from maestro.clients.kubernetes.connection import Connection, impersonated
from maestro.core.errors import BadInput

CONFIG = {
    "apiVersion": "v1",
    "kind": "Config",
    "current-context": "mine",
    "contexts": [
        {"name": "mine", "context": {"cluster": "c", "user": "ada"}},
        {"name": "plain", "context": {"cluster": "c", "user": "grace"}},
    ],
    "clusters": [{"name": "c", "cluster": {"server": "https://127.0.0.1:9"}}],
    "users": [
        {
            "name": "ada",
            "user": {"token": "t", "as": "auditor", "as-groups": ["a", "b"], "as-user-extra": {"why": ["x"]}},
        },
        {"name": "grace", "user": {"token": "t"}},
    ],
}


@pytest.fixture
def kubeconfig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "kubeconfig"
    path.write_text(yaml.safe_dump(CONFIG))
    monkeypatch.setenv("KUBECONFIG", str(path))
    return path


def test_whoever_the_kubeconfig_acts_as_is_who_we_are(kubeconfig: Path) -> None:
    assert impersonated() == [
        ("Impersonate-User", "auditor"),
        ("Impersonate-Group", "a"),
        ("Impersonate-Group", "b"),
        ("Impersonate-Extra-why", "x"),
    ]
    assert impersonated(context="plain") == []
    assert impersonated(kubeconfig, "mine") == impersonated()


def test_several_files_are_read_as_one(kubeconfig: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = tmp_path / "first"
    first.write_text(yaml.safe_dump({"current-context": "plain"}))
    monkeypatch.setenv("KUBECONFIG", f"{first}:{tmp_path / 'missing'}:{kubeconfig}")
    assert impersonated() == []


def test_a_context_that_does_not_exist_is_named(kubeconfig: Path) -> None:
    with pytest.raises(BadInput) as refused:
        Connection.load(context="theirs")
    assert refused.value.field == "context"


@pytest.mark.parametrize("name", ["BearerToken", "authorization"])
def test_a_token_is_sent_under_whichever_name_the_library_keeps_it(name: str) -> None:
    from kubernetes.client import Configuration

    sent: list[str | None] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            sent.append(self.headers.get("Authorization"))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        configuration = Configuration(host=f"http://127.0.0.1:{server.server_port}")
        configuration.api_key[name] = "bearer of the pod"
        Connection(configuration).request("GET", "/healthz", what="look")
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
    assert sent == ["bearer of the pod"]
