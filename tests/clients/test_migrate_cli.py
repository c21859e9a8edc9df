"""An upgrade with two releases at work on one database, and from the previous schema: nothing stops, nothing is lost."""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import text
from typer.testing import CliRunner

from maestro.api.app import create_app
from maestro.cli.platform import app as platform_app
from maestro.clients.database import Database, current_revision, head_revision, migrate
from maestro.clients.database.migrate import VERSION_TABLE, require_current
from maestro.clients.home import Home
from maestro.core.errors import Unreachable
from maestro.core.settings import Settings, settings
from maestro.lifecycle.bootstrap import prepare
from maestro.lifecycle.composition import Platform

VERSIONS = Path(__file__).resolve().parents[2] / "maestro/clients/database/migrations/versions"
MIGRATIONS = sorted(path for path in VERSIONS.glob("0*.py"))
ADDS = {
    "create_table",
    "create_index",
    "drop_index",
    "add_column",
    "execute",
    "get_bind",
    "f",
    "create_unique_constraint",
    "create_foreign_key",
}
JOB = {
    "name": "churn", "model_type": "classifier", "data": {"feature_service": "file", "entities": "e.parquet", "target": "y"},
}  # fmt: skip


@pytest.fixture
def platform(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Platform]:
    for name in ("MLFLOW", "SERVER"):
        monkeypatch.setenv(f"MAESTRO_{name}_URL", "http://127.0.0.1:9")
    settings.cache_clear()
    found = prepare(Home(home), Settings(home=home))
    yield found
    found.close()


def next_release(database: Database, revision: str) -> None:
    """What a later release's migration does: it adds."""
    with database.begin() as connection:
        connection.execute(text("ALTER TABLE ai_training_jobs ADD COLUMN of_the_next_release VARCHAR(64)"))
        connection.execute(text("CREATE TABLE of_the_next_release (id INTEGER PRIMARY KEY, note VARCHAR(64))"))
        connection.execute(text(f"UPDATE {VERSION_TABLE} SET version_num = :to"), {"to": revision})  # noqa: S608 - a constant


@pytest.mark.shows("F7", env="laptop")
def test_a_release_that_runs_goes_on_when_the_next_one_migrates(platform: Platform) -> None:
    """Old pods answer and take work on the new schema, a restarted one too, and its migration leaves it alone."""
    client = TestClient(create_app(platform))
    key = {"Authorization": f"Bearer {(platform.home.keys / 'user.token').read_text().strip()}"}
    assert client.get("/readyz").status_code == 200
    later = f"{int(head_revision()) + 1:04d}"
    next_release(platform.database, later)
    assert client.get("/readyz").status_code == 200
    started = client.post("/ai/training/jobs/start", json=JOB, headers=key | {"Idempotency-Key": "k1"})
    assert started.status_code in {200, 201, 202}, started.text
    listed = client.get("/ai/training/jobs", headers=key)
    assert "churn" in listed.text
    again = CliRunner().invoke(platform_app, ["migrate", "--json"])
    assert json.loads(again.stdout)["to"] == later
    assert CliRunner().invoke(platform_app, ["ready", "worker"]).exit_code == 0
    restarted = Platform(platform.settings)
    restarted.require_database()
    restarted.close()


def test_a_schema_that_took_something_away_is_refused_with_the_remedy(platform: Platform) -> None:
    next_release(platform.database, "1001")
    client = TestClient(create_app(platform), raise_server_exceptions=False)
    assert client.get("/readyz").status_code == 503
    with pytest.raises(Unreachable, match="1001") as refused:
        require_current(platform.database)
    assert refused.value.remedy == "run the release that migrated it"


@pytest.mark.shows("D3", env="laptop")
def test_a_job_of_the_previous_schema_is_there_after_the_upgrade(
    tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from maestro.clients.database import open_database

    url = f"sqlite:///{tmp_path / 'before.db'}"
    monkeypatch.setenv("MAESTRO_DATABASE_URL", url)
    settings.cache_clear()
    previous = f"{int(head_revision()) - 1:04d}"
    database = open_database(url)
    migrate(database, previous)
    columns = {
        "id": "j-before", "tenant_id": "t1", "name": "before", "model_type": "classifier", "priority": "normal", "backend": "local",
        "status": "queued", "request": json.dumps(JOB | {"tenant_id": "t1"}), "submitted_by": "human:ada", "created_at": "2026-01-01 00:00:00.000000",
    }  # fmt: skip
    with database.begin() as connection:
        known = {row[1]: row for row in connection.execute(text("PRAGMA table_info(ai_training_jobs)"))}
        for name, row in known.items():
            if row[3] and row[4] is None and name not in columns:
                columns[name] = "{}" if "JSON" in row[2] else "0" if "CHAR" not in row[2] else ""
        names = ", ".join(columns)
        given = ", ".join(f":{name}" for name in columns)
        insert = f"INSERT INTO ai_training_jobs ({names}) VALUES ({given})"  # noqa: S608 - names of this file
        connection.execute(text(insert), columns)
    assert CliRunner().invoke(platform_app, ["ready", "worker", "--json"]).exit_code != 0
    done = CliRunner().invoke(platform_app, ["migrate", "--json"])
    assert json.loads(done.stdout) | {"database": ""} == {"database": "", "from": previous, "to": head_revision()}
    assert current_revision(database) == head_revision()
    database.dispose()
    platform = prepare(Home(home), Settings(home=home, database_url=url))
    client = TestClient(create_app(platform))
    key = {"Authorization": f"Bearer {(platform.home.keys / 'user.token').read_text().strip()}"}
    assert client.get("/ai/training/jobs/j-before", headers=key).json()["name"] == "before"
    platform.close()


@pytest.mark.parametrize("path", MIGRATIONS[1:], ids=lambda path: path.stem)
def test_a_migration_of_the_same_epoch_only_adds(path: Path) -> None:
    tree = ast.parse(path.read_text())
    (upgrade,) = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == "upgrade"]
    calls = [node for node in ast.walk(upgrade) if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)]
    used = {
        call.func.attr
        for call in calls
        if isinstance(call.func, ast.Attribute) and isinstance(call.func.value, ast.Name) and call.func.value.id == "op"
    }
    assert used <= ADDS, f"takes something away: {used - ADDS}; that needs a new epoch (the revision's first digit)"
    for call in calls:
        if isinstance(call.func, ast.Attribute) and call.func.attr == "add_column":
            (column,) = [one for one in call.args if isinstance(one, ast.Call)]
            given = {one.arg: one.value for one in column.keywords}
            empty = isinstance(given.get("nullable"), ast.Constant) and ast.literal_eval(given["nullable"]) is True
            assert empty or "server_default" in given, "an older release does not fill this column"
