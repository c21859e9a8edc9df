"""Engine and transactions, with the database's failures translated into our errors."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Connection, Engine, create_engine, event, make_url
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import ArgumentError, DatabaseError, DBAPIError, NoSuchModuleError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.pool import ConnectionPoolEntry

from maestro.core.errors import BadInput, Unreachable
from maestro.core.settings import DatabaseSettings, settings


class Database:
    """One database. Thread-safe; connections are pooled; each transaction is one `begin()`.

    On SQLite every write transaction takes the write lock at its start (`BEGIN IMMEDIATE`), so that a transaction that reads and then writes
    cannot fail half-way, and the journal is a write-ahead log, so that readers never wait.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    @property
    def is_sqlite(self) -> bool:
        """Whether this is the laptop's database."""
        return self.engine.dialect.name == "sqlite"

    @property
    def url(self) -> str:
        """The address without its password."""
        return self.engine.url.render_as_string(hide_password=True)

    @contextmanager
    def begin(self) -> Iterator[Connection]:
        """A read-write transaction: committed when the block ends, rolled back when it raises.

        What was handed to `after_commit` runs when it is committed and its connection given back, in order.

        Raises:
            Unreachable: the database is gone, locked for too long, or its disk is full.
        """
        with self._translated(), self.engine.connect() as connection:
            if self.is_sqlite:
                connection.exec_driver_sql("BEGIN IMMEDIATE")
            waiting: list[Callable[[], None]] = []
            connection.info[_AFTER_COMMIT] = waiting
            with connection.begin() if not connection.in_transaction() else _Joined(connection):
                yield connection
        for action in waiting:
            action()

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A read-only transaction.

        Raises:
            Unreachable: the database is gone.
        """
        with self._translated(), self.engine.connect() as connection:
            if self.is_sqlite:
                connection.exec_driver_sql("BEGIN")
            yield connection
            connection.rollback()

    def dispose(self) -> None:
        """Close every connection."""
        self.engine.dispose()

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except OperationalError as error:
            raise self._unreachable(error) from error
        except PoolTimeout as error:
            raise Unreachable(
                f"platform database {self.url}: every connection is in use",
                remedy="try again, or raise MAESTRO_DATABASE__POOL_SIZE",
                component="database",
            ) from error
        except DBAPIError as error:
            # SQLite says with the base class that its file is broken
            if error.connection_invalidated or (self.is_sqlite and type(error) is DatabaseError):
                raise self._unreachable(error) from error
            raise

    def _unreachable(self, error: DBAPIError) -> Unreachable:
        reason = str(error.orig).strip().splitlines()[0] if error.orig else str(error)
        if "locked" in reason:
            remedy = "another process holds the database: wait, or end it"
        elif "full" in reason or "No space" in reason or "disk I/O" in reason:
            remedy = "free disk space, then try again"
        elif "no such table" in reason or "does not exist" in reason:
            remedy = "run `maestro platform migrate`"
        elif "malformed" in reason or "not a database" in reason:
            remedy = "the database's file is broken: put back a backup"
        else:
            remedy = "start the database, or correct MAESTRO_DATABASE_URL"
        return Unreachable(f"platform database {self.url}: {reason}", remedy=remedy, component="database")


_AFTER_COMMIT = "maestro.after_commit"


def after_commit(connection: Connection, action: Callable[[], None]) -> None:
    """Run `action` once the transaction of `Database.begin` that `connection` is in has been committed, never when it is rolled back.

    It cannot undo the commit: what it raises reaches the caller of `begin` although the transaction stands.
    """
    waiting: list[Callable[[], None]] = connection.info[_AFTER_COMMIT]
    if action not in waiting:
        waiting.append(action)


class _Joined:
    """The transaction that `BEGIN IMMEDIATE` opened, committed or rolled back by the block's end."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: object) -> None:
        if kind is None:
            self._connection.commit()
        else:
            self._connection.rollback()


def open_database(url: str, options: DatabaseSettings | None = None) -> Database:
    """Open a database by SQLAlchemy URL; `postgresql://` means the psycopg driver.

    Raises:
        BadInput: the URL cannot be read or names an unsupported database.
    """
    options = options or settings().database
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise BadInput(
            "the database URL cannot be read",
            field="database_url",
            remedy="write sqlite:///file or postgresql://user@host/db",
        ) from None
    if parsed.drivername in {"postgresql", "postgres"}:
        parsed = parsed.set(drivername="postgresql+psycopg")
    if parsed.get_backend_name() == "sqlite":
        return Database(_sqlite(str(parsed.database or ""), options))
    if parsed.get_backend_name() != "postgresql":
        raise BadInput(
            f"database {parsed.get_backend_name()!r} is not supported",
            field="database_url",
            remedy="use sqlite:/// or postgresql://",
        )
    try:
        idle_ms = round(options.idle_in_transaction_s * 1000)
        engine = create_engine(
            parsed, pool_size=options.pool_size, max_overflow=options.max_overflow, pool_pre_ping=True, future=True,
            connect_args={"options": f"-c idle_in_transaction_session_timeout={idle_ms}"},
        )  # fmt: skip
    except (NoSuchModuleError, ImportError) as error:
        raise BadInput(
            f"no driver for {parsed.drivername}: {error}", remedy="pip install 'maestro-ml[database]'"
        ) from None
    return Database(engine)


def _sqlite(path: str, options: DatabaseSettings) -> Engine:
    if path and path != ":memory:":
        Path(path).parent.mkdir(parents=True, exist_ok=True)
    engine = create_engine(
        f"sqlite:///{path}",
        connect_args={"timeout": options.busy_timeout_s, "check_same_thread": False, "isolation_level": None},
    )

    @event.listens_for(engine, "connect")
    def _pragmas(connection: DBAPIConnection, _record: ConnectionPoolEntry) -> None:
        cursor = connection.cursor()
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    return engine
