"""`maestro keys` against a running API, as users run it."""

from __future__ import annotations

import json
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import uvicorn

from maestro.api.app import create_app
from maestro.cli.main import main
from maestro.clients.home import Home
from maestro.core.settings import settings
from maestro.lifecycle.bootstrap import prepare


class Done(NamedTuple):
    returncode: int
    stdout: str
    stderr: str


Run = Callable[..., Done]


@pytest.fixture
def api(home: Path) -> Iterator[str]:
    platform = prepare(Home(home))
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(create_app(platform), log_level="warning", ws="none"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    server.should_exit = True
    thread.join()
    listener.close()
    platform.close()


@pytest.fixture
def maestro(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """`maestro keys` in this process, against an API."""
    monkeypatch.setenv("COLUMNS", "200")

    def run(url: str, *words: str, key: str | None = None) -> Done:
        monkeypatch.setenv("MAESTRO_API_URL", url)
        monkeypatch.delenv("MAESTRO_API_KEY", raising=False)
        if key is not None:
            monkeypatch.setenv("MAESTRO_API_KEY", key)
        settings.cache_clear()
        monkeypatch.setattr(sys, "argv", ["maestro", "keys", *words])
        capsys.readouterr()
        code = main(["keys", *words])
        shown = capsys.readouterr()
        return Done(code, shown.out, shown.err)

    return run


@pytest.mark.shows("K5", "K8", env="laptop")
def test_a_principal_and_its_key_from_creation_to_revocation(api: str, maestro: Run) -> None:
    created = maestro(api, "create-principal", "grace", "--role", "approver", "--tenant", "t1")
    assert created.returncode == 0, created.stderr
    assert "created human:grace, roles: approver" in created.stdout
    token = maestro(api, "mint", "grace", "--expires", "30d").stdout.strip()
    assert token.startswith("mk_")
    listed = json.loads(maestro(api, "list", "--principal", "grace", "--json").stdout)
    assert [key["principal"] for key in listed["keys"]] == ["grace"]
    assert {key["role"] for key in listed["signing_keys"]} == {"builder", "decider"}
    refused = maestro(api, "list", key=token)
    assert refused.returncode == 4
    assert "lacks the role operator" in refused.stderr
    key_id = listed["keys"][0]["key_id"]
    assert maestro(api, "revoke", key_id).returncode == 0
    gone = maestro(api, "list", key=token)
    assert gone.returncode == 4
    assert "was revoked" in gone.stderr
    shown = maestro(api, "list")
    assert "grace" in shown.stdout
    assert token.split("_", 2)[2] not in shown.stdout


def test_mistakes_are_named(api: str, maestro: Run) -> None:
    done = maestro(api, "mint", "nobody", "--json")
    assert done.returncode == 2
    assert json.loads(done.stdout)["type"] == "urn:maestro:problem:not-found"
    assert maestro(api, "mint", "reviewer", "--expires", "soon").returncode == 2
    assert maestro(api, "revoke", "../principals").returncode == 2
    assert maestro(api, "rotate-signing", "server").returncode == 2
    assert maestro("http://127.0.0.1:9", "list").returncode == 3
