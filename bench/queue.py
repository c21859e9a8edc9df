"""The queue as it grows: claims a second and the time of a page, with ten thousand jobs and with a million, on SQLite and PostgreSQL.

`MAESTRO_BENCH_ROWS` says how many rows the large table has.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import text

from bench.hpo import postgresql
from maestro.clients.database import Database, migrate, open_database
from maestro.core.clock import SystemClock
from maestro.core.jobs import DataSpec, JobRequest, JobStatus
from maestro.core.principals import SYSTEM
from maestro.core.settings import TrainingSettings
from maestro.security.audit import AuditLog
from maestro.training.leases import Leases
from maestro.training.queue import Queue
from maestro.training.store import JobFilter, JobStore

SMALL, LARGE = 10_000, int(os.environ.get("MAESTRO_BENCH_ROWS", "1000000"))
CLAIMS, PAGES = 100, 50
_NUMBERS = {
    "sqlite": "WITH RECURSIVE n(i) AS (SELECT :low UNION ALL SELECT i + 1 FROM n WHERE i + 1 < :high)",
    "postgresql": "WITH n(i) AS (SELECT generate_series(CAST(:low AS INTEGER), CAST(:high AS INTEGER) - 1))",
}
_AT = {
    "sqlite": "datetime('2026-01-01', (i % 86400) || ' seconds')",
    "postgresql": "TIMESTAMPTZ '2026-01-01' + (i % 86400) * INTERVAL '1 second'",
}


def fill(store: JobStore, low: int, high: int, queued: int) -> None:
    """Jobs number `low` to `high` as copies of the first, the first `queued` of them waiting, the others ended."""
    kind = "sqlite" if store.database.is_sqlite else "postgresql"
    statement = (
        f"INSERT INTO ai_training_jobs (id, tenant_id, name, model_type, priority, priority_rank, backend, status, request, request_digest, "  # noqa: S608 - our own words
        f"submitted_by, attempt, fence, cancel_requested, progress, cost_usd_micros, created_at) {_NUMBERS[kind] if kind == 'postgresql' else ''} "
        f"SELECT 'job-' || i, 't' || (i % 10), name, model_type, priority, priority_rank, backend, "
        f"CASE WHEN i < :queued THEN 'queued' WHEN i % 9 = 0 THEN 'failed' ELSE 'completed' END, request, request_digest, submitted_by, 0, 0, 0, 0, 7, {_AT[kind]} "
        f"FROM n CROSS JOIN (SELECT * FROM ai_training_jobs WHERE id = (SELECT MIN(id) FROM ai_training_jobs WHERE name = 'first')) AS one"
    )
    if kind == "sqlite":
        statement = f"{_NUMBERS[kind]} {statement}"
    with store.database.begin() as connection:
        connection.execute(text(statement), {"low": low, "high": high, "queued": queued})
        connection.execute(text("ANALYZE"))


def measure(store: JobStore) -> tuple[float, float, float, float]:
    """Claims a second; milliseconds of the first page, of a filtered page and of the statistics (medians)."""
    leases = Leases(store, TrainingSettings(max_running=10**6, max_running_per_tenant=10**6))
    queue = Queue(store, leases.options)
    began = time.perf_counter()
    claimed = sum(leases.claim("w", ["local"]) is not None for _ in range(CLAIMS))
    rate = claimed / (time.perf_counter() - began)

    def median_ms(action: object) -> float:
        times = []
        for _ in range(PAGES):
            start = time.perf_counter()
            action()  # type: ignore[operator]
            times.append((time.perf_counter() - start) * 1e3)
        return statistics.median(times)

    page = median_ms(lambda: store.page(JobFilter(), SYSTEM))
    failed = median_ms(lambda: store.page(JobFilter(status=JobStatus.FAILED, tenant_id="t3"), SYSTEM))
    return rate, page, failed, median_ms(lambda: queue.stats(SYSTEM))


@contextmanager
def databases() -> Iterator[dict[str, Database]]:
    with tempfile.TemporaryDirectory() as folder, postgresql() as url:
        found = {"SQLite": open_database(f"sqlite:///{Path(folder) / 'queue.db'}"), "PostgreSQL": open_database(url)}
        for database in found.values():
            migrate(database)
        yield found
        for database in found.values():
            database.dispose()


def compare() -> list[str]:
    """The same questions to the small table and to the large one."""
    lines = [f"{'':<12}{'jobs':>10}{'queued':>10}{'claims/s':>10}{'page ms':>10}{'filtered':>10}{'stats ms':>10}"]
    clock = SystemClock()
    with databases() as found:
        for name, database in found.items():
            store = JobStore(database, clock, AuditLog(database, clock, None, None))
            request = JobRequest(name="first", model_type="classifier", data=DataSpec(feature_service="s"))
            store.submit(request, SYSTEM)
            for low, high, queued in ((0, SMALL, SMALL // 10), (SMALL, LARGE, SMALL + 10_000)):
                fill(store, low, high, queued)
                rate, page, failed, stats = measure(store)
                waiting = Queue(store, TrainingSettings()).stats(SYSTEM).by_status["queued"]
                lines.append(
                    f"{name:<12}{high:>10}{waiting:>10}{rate:>10.0f}{page:>10.2f}{failed:>10.2f}{stats:>10.2f}"
                )
    return lines
