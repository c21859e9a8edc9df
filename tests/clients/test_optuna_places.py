"""The places of a study: processes that ask at once are given no more than there are, and a dead one's is given back."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from maestro.clients import optuna as adapter
from maestro.clients import optuna_places, optuna_samplers
from maestro.clients.optuna import Studies
from maestro.clients.optuna_places import Full
from maestro.core.errors import Unreachable

PLACES = 12
ASKING = (
    "import sys\n"
    "from maestro.clients.optuna import Studies\n"
    "from maestro.clients.optuna_places import Full\n"
    "studies = Studies(sys.argv[1]); study = studies.load('s')\n"
    "print('ready', flush=True); sys.stdin.readline()\n"
    "mine = []\n"
    "try:\n"
    "    while True:\n"
    "        trial, _ = studies.ask(study, lambda t: {'x': t.suggest_float('x', 0, 1)}, at_most=12)\n"
    "        mine.append(str(trial.number))\n"
    "except Full:\n"
    "    print(' '.join(mine), flush=True)\n"
    "sys.stdin.readline()\n"
)


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/s.db"
        return
    import psycopg

    server = request.getfixturevalue("postgres_url")
    name = f"places_{os.getpid()}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"')
    found = server.replace("/postgres?", f"/{name}?")
    yield found
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


def test_processes_that_ask_at_once_share_the_places_and_a_dead_one_s_are_given_back(url: str) -> None:
    studies = Studies(url)
    study = studies.open("s", ["maximize"], optuna_samplers.sampler("random", seed=0), adapter.pruner("none", steps=1))
    # two wait to be tried again: they take places, too, and only once
    for x in (0.25, 0.75):
        study.enqueue_trial({"x": x})
    asking = [
        subprocess.Popen([sys.executable, "-c", ASKING, url], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    try:
        for process in asking:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        for process in asking:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        given = [(process.stdout.readline() if process.stdout else "").split() for process in asking]
        assert sorted(int(number) for numbers in given for number in numbers) == list(range(PLACES))
        dead = max(range(3), key=lambda at: len(given[at]))
        with pytest.raises(Full):
            studies.ask(study, lambda t: {"x": t.suggest_float("x", 0, 1)}, at_most=PLACES)
        asking[dead].kill()
        asking[dead].wait()
        assert studies.recover(study) == len(given[dead])
        for _ in given[dead]:
            trial, _ = studies.ask(study, lambda t: {"x": t.suggest_float("x", 0, 1)}, at_most=PLACES)
        with pytest.raises(Full):
            studies.ask(study, lambda t: {"x": t.suggest_float("x", 0, 1)}, at_most=PLACES)
        studies.tell(study, trial, "fail", None, {})
        studies.ask(study, lambda t: {"x": t.suggest_float("x", 0, 1)}, at_most=PLACES)
    finally:
        for process in asking:
            process.kill()
            process.communicate()
    assert sum(trial.state == "running" for trial in studies.trials(study)) == PLACES
    studies.close()


def test_a_lock_that_is_never_free_or_cannot_be_taken_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(optuna_places, "_PATIENCE_S", 0.05)
    studies = Studies(f"sqlite:///{tmp_path}/s.db")
    study = studies.open("s", ["maximize"], optuna_samplers.sampler("random", seed=0), adapter.pruner("none", steps=1))
    with open(tmp_path / "s.db.lock", "a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(Unreachable, match="another process has held"):
            studies.ask(study, lambda t: {"x": t.suggest_float("x", 0, 1)}, at_most=3)
    assert studies.trials(study) == []
    (tmp_path / "s.db.lock").unlink()
    (tmp_path / "s.db.lock").mkdir()
    with pytest.raises(Unreachable, match=r"cannot be locked: .*s\.db\.lock"):
        studies.ask(study, lambda t: {"x": t.suggest_float("x", 0, 1)}, at_most=3)
    (tmp_path / "s.db.lock").rmdir()
    studies.ask(study, lambda t: {"x": t.suggest_float("x", 0, 1)}, at_most=3)
