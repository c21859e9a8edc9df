"""The database engine on both kinds: transactions, locks, a full disk, a database that is gone."""

from __future__ import annotations

import subprocess
import sys
import threading
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import create_engine, func, select, update

from maestro.clients.database import Database, migrate, open_database
from maestro.clients.database.outbox import append_event
from maestro.clients.database.schema.core import outbox
from maestro.core.errors import BadInput, Unreachable
from maestro.core.settings import DatabaseSettings

AT = datetime(2026, 1, 1, tzinfo=UTC)


def add(database: Database, subject: str = "model/m@1.0.0") -> int:
    with database.begin() as connection:
        return append_event(connection, kind="test.kind", subject=subject, actor="human:ada", data={"a": 1}, at=AT)


def count(database: Database) -> int:
    with database.read() as connection:
        return int(connection.execute(select(func.count()).select_from(outbox)).scalar_one())


def test_a_block_that_raises_leaves_nothing(database: Database) -> None:
    def fail_after_writing() -> None:
        with database.begin() as connection:
            append_event(connection, kind="test.kind", subject="s/1", actor="a", data={}, at=AT)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_after_writing()
    assert count(database) == 0
    add(database)
    assert count(database) == 1


def test_a_read_writes_nothing(database: Database) -> None:
    with database.read() as connection:
        append_event(connection, kind="test.kind", subject="s/1", actor="a", data={}, at=AT)
    assert count(database) == 0


def test_writers_at_once_lose_nothing(database: Database) -> None:
    threads = [threading.Thread(target=lambda: [add(database) for _ in range(10)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert count(database) == 40


def test_times_and_documents_come_back_as_they_went(database: Database) -> None:
    add(database)
    with database.read() as connection:
        stored = connection.execute(select(outbox)).mappings().one()
    assert stored["at"] == AT
    assert stored["at"].tzinfo is not None
    assert stored["data"] == {"a": 1}


def test_a_locked_sqlite_file_is_a_clear_error(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'maestro.db'}"
    holder = open_database(url)
    migrate(holder)
    waiting = open_database(url, DatabaseSettings(busy_timeout_s=0.1))
    with holder.begin(), pytest.raises(Unreachable, match="locked") as caught:
        add(waiting)
    assert "another process holds the database" in caught.value.remedy
    add(waiting)  # nothing was left behind: the next write works
    assert count(holder) == 1
    holder.dispose()
    waiting.dispose()


_FULL_DISK = """
import resource, signal, sys
from datetime import UTC, datetime
from maestro.clients.database import open_database, migrate
from maestro.clients.database.outbox import append_event
from maestro.core.errors import Unreachable

database = open_database("sqlite:///" + sys.argv[1])
migrate(database)
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (600_000, 600_000))
written = 0
try:
    while written < 10_000:
        with database.begin() as connection:
            append_event(connection, kind="test.kind", subject="s", actor="a", data={"x": "y" * 4000}, at=datetime.now(UTC))
        written += 1
except Unreachable as error:
    print(written, error.remedy, sep="|")
"""


def test_a_full_disk_is_a_clear_error_and_loses_nothing_that_was_accepted(tmp_path: Path) -> None:
    path = tmp_path / "maestro.db"
    done = subprocess.run(
        [sys.executable, "-c", _FULL_DISK, str(path)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    written, remedy = done.stdout.strip().split("|")
    assert int(written) > 0
    assert "free disk space" in remedy
    database = open_database(f"sqlite:///{path}")
    assert count(database) == int(written)
    database.dispose()


def test_a_database_that_is_gone_is_unreachable() -> None:
    database = open_database("postgresql://nobody@127.0.0.1:1/none?connect_timeout=1")
    with pytest.raises(Unreachable, match="platform database") as caught:
        count(database)
    assert "MAESTRO_DATABASE_URL" in caught.value.remedy


def test_a_password_is_not_shown() -> None:
    assert "secret" not in open_database("postgresql://ada:secret@127.0.0.1/maestro").url


@pytest.mark.parametrize("url", ["", "nonsense", "mysql://h/d", "sqlite+nothing"])
def test_a_url_that_is_none_is_bad_input(url: str) -> None:
    with pytest.raises(BadInput) as caught:
        open_database(url)
    assert caught.value.field == "database_url"


def test_a_time_without_zone_is_refused(sqlite_database: Database) -> None:
    with pytest.raises(Exception, match="without zone"), sqlite_database.begin() as connection:
        append_event(connection, kind="k", subject="s", actor="a", data={}, at=AT.replace(tzinfo=None))


def test_a_pool_that_is_used_up_is_a_passing_trouble(tmp_path: Path) -> None:
    engine = create_engine(f"sqlite:///{tmp_path / 'a.db'}", pool_size=1, max_overflow=0, pool_timeout=0.05)
    database = Database(engine)
    with database.read(), pytest.raises(Unreachable, match="every connection is in use"), database.read():
        pass
    database.dispose()


def test_a_broken_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "a.db").write_bytes(b"no database at all" * 1000)
    database = open_database(f"sqlite:///{tmp_path / 'a.db'}")
    with pytest.raises(Unreachable, match="not a database") as told, database.read():
        pass
    assert "backup" in told.value.remedy
    database.dispose()


def test_a_process_that_stops_in_a_transaction_holds_nobody_up(postgres_database: Database) -> None:
    url = postgres_database.engine.url.render_as_string(hide_password=False)
    stopped = open_database(url, DatabaseSettings(idle_in_transaction_s=0.2))
    add(postgres_database)

    def stop_while_holding_a_row() -> None:
        with stopped.begin() as connection:
            connection.execute(update(outbox).values(actor="human:eve"))
            # while it says nothing the server ends its session, and whoever waits for its row goes on
            with postgres_database.begin() as other:
                other.execute(update(outbox).values(actor="human:bea"))
            connection.execute(select(outbox))

    with pytest.raises(Unreachable, match="idle-in-transaction"):
        stop_while_holding_a_row()
    with stopped.read() as connection:
        assert connection.execute(select(outbox.c.actor)).scalar_one() == "human:bea"
    stopped.dispose()
