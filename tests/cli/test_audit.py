"""`maestro audit` and the signing-key part of `maestro keys`, as users run them."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from sqlalchemy import delete, update

from maestro.cli.main import main
from maestro.clients.database.schema.security import audit_heads, audit_log
from maestro.clients.home import Home
from maestro.lifecycle.bootstrap import prepare
from maestro.lifecycle.composition import Platform


class Done(NamedTuple):
    returncode: int
    stdout: str
    stderr: str


Run = Callable[..., Done]


@pytest.fixture
def platform(home: Path) -> Iterator[Platform]:
    platform = prepare(Home(home))
    yield platform
    platform.close()


@pytest.fixture
def maestro(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """One command line, in this process."""
    monkeypatch.setenv("COLUMNS", "200")

    def run(*words: str) -> Done:
        monkeypatch.setattr(sys, "argv", ["maestro", *words])
        capsys.readouterr()
        code = main(words)
        shown = capsys.readouterr()
        return Done(code, shown.out, shown.err)

    return run


@pytest.mark.shows("K5", "E5", env="laptop")
def test_a_sound_log_is_verified_and_listed(platform: Platform, maestro: Run) -> None:
    done = maestro("audit", "verify")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("sound: ")
    told = json.loads(maestro("audit", "list", "--action", "key.", "--json").stdout)
    assert {entry["action"] for entry in told} == {"key.mint"}
    assert "principal.create" in {entry["action"] for entry in json.loads(maestro("audit", "list", "--json").stdout)}
    assert len(maestro("audit", "list").stdout.splitlines()) > len(told)


@pytest.mark.shows("K5", "E5", env="laptop")
def test_tampering_exits_1_and_says_where(platform: Platform, maestro: Run) -> None:
    with platform.database.begin() as connection:
        connection.execute(update(audit_log).where(audit_log.c.seq == 2).values(outcome="refused"))
    done = maestro("audit", "verify", "--json")
    assert done.returncode == 1
    report = json.loads(done.stdout)
    assert report["ok"] is False
    assert [(problem["kind"], problem["seq"]) for problem in report["problems"]] == [("edited", 2)]
    assert maestro("audit", "verify").returncode == 1


@pytest.mark.shows("K5", env="laptop")
def test_a_truncated_database_is_found_by_the_file_outside_it(platform: Platform, maestro: Run) -> None:
    platform.audit.record(actor="system:controller", action="decision", subject="version/m@1", decision=True)
    with platform.database.begin() as connection:
        connection.execute(delete(audit_log).where(audit_log.c.seq > 3))
        connection.execute(delete(audit_heads).where(audit_heads.c.seq > 3))
    report = json.loads(maestro("audit", "verify", "--json").stdout)
    assert ("truncated", 4) in [(problem["kind"], problem.get("seq")) for problem in report["problems"]]


@pytest.mark.parametrize("compromised", [False, True])
def test_a_rotated_decider_key_signs_the_head_anew(platform: Platform, maestro: Run, compromised: bool) -> None:
    words = ["keys", "rotate-signing", "decider", "--json"] + ["--compromised"] * compromised
    done = maestro(*words)
    assert done.returncode == 0, done.stderr
    report = json.loads(maestro("audit", "verify", "--json").stdout)
    assert report["ok"] is True
    assert (report["unanchored"], report["revoked_heads"] > 0) == (0, compromised)
    last = json.loads(maestro("audit", "list", "--json").stdout)[-1]
    assert (last["action"], last["data"]["keyid"]) == ("signing-key.rotate", json.loads(done.stdout)["keyid"])


def test_an_empty_home_is_a_clear_error(home: Path, maestro: Run) -> None:
    done = maestro("audit", "verify")
    assert done.returncode == 4
    assert "trust policy" in done.stderr
    done = maestro("audit", "list")
    assert done.returncode == 3
    assert "maestro platform migrate" in done.stderr
    assert "Traceback" not in done.stderr
