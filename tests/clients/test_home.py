"""Where things are: flag, then environment, then state.json, else an error that names `make up`."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from maestro.clients.home import Home, database_url, service_url, write_private
from maestro.core.errors import Malformed, Unreachable
from maestro.core.settings import settings
from maestro.core.state import ServiceState, State


def state(pid: int) -> State:
    services = {"api": ServiceState(url="http://127.0.0.1:41001/", pid=pid, log="logs/api.log")}
    return State(
        started=datetime(2026, 1, 1, tzinfo=UTC), supervisor_pid=pid, database="sqlite:///x", services=services
    )


def test_the_order_of_the_look_up(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Unreachable, match="where the api service is") as caught:
        service_url("api")
    assert caught.value.exit_code == 3
    assert "make up" in caught.value.remedy
    Home.of().write_state(state(os.getpid()))
    assert service_url("api") == "http://127.0.0.1:41001"
    monkeypatch.setenv("MAESTRO_API_URL", "http://set:1")
    settings.cache_clear()
    assert service_url("api") == "http://set:1"
    assert service_url("api", "http://flag:2/") == "http://flag:2"


def test_a_service_that_the_state_does_not_list_is_unknown(home: Path) -> None:
    Home.of().write_state(state(os.getpid()))
    with pytest.raises(Unreachable, match="mlflow"):
        service_url("mlflow")


def test_a_stale_pid_is_detected(home: Path) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    Home.of().write_state(state(ended.pid))
    assert Home.of().read_state() is None
    with pytest.raises(Unreachable, match="where the api"):
        service_url("api")


def test_the_state_is_for_its_owner_only(home: Path) -> None:
    Home.of().write_state(state(os.getpid()))
    assert stat.S_IMODE(Home.of().state_file.stat().st_mode) == 0o600


@pytest.mark.parametrize("text", ["", "{", '{"schema": 2}', '{"schema": 1, "services": 3}'])
def test_a_state_that_cannot_be_read_says_what_to_do(home: Path, text: str) -> None:
    Home.of().state_file.write_text(text)
    with pytest.raises(Malformed, match="cannot be read") as caught:
        Home.of().read_state()
    assert "make down" in caught.value.remedy


def test_replacing_a_private_file_leaves_no_half(tmp_path: Path) -> None:
    path = tmp_path / "a" / "key"
    write_private(path, "one")
    write_private(path, "two")
    assert path.read_text() == "two"
    assert [entry.name for entry in path.parent.iterdir()] == ["key"]


def test_the_database_is_in_the_home_unless_set(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert database_url() == f"sqlite:///{home / 'maestro.db'}"
    monkeypatch.setenv("MAESTRO_DATABASE_URL", "postgresql://h/d")
    settings.cache_clear()
    assert database_url() == "postgresql://h/d"
