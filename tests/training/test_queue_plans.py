"""Whatever the number of jobs, the pages, the counts and the claims read by index: shown by the query plans of both databases."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Connection, Select, event, insert, select, text
from sqlalchemy.engine.interfaces import DBAPICursor, ExecutionContext

from maestro.clients.database import Database
from maestro.clients.database.schema.training import ai_training_jobs as jobs
from maestro.core.jobs import JobStatus, Priority
from maestro.core.principals import Principal, PrincipalRole
from maestro.core.settings import TrainingSettings
from maestro.training.claims import Standing
from maestro.training.leases import Leases
from maestro.training.limits import limits_of
from maestro.training.queue import Queue
from maestro.training.store import JobFilter, JobStore, page_query
from tests.training.conftest import ADA, OPERATOR, request_for

ROWS = 3000


@pytest.fixture
def many(store: JobStore) -> JobStore:
    """Three thousand jobs of three tenants, most of them ended, five hundred queued."""
    template = store.submit(request_for(), ADA)
    with store.database.begin() as connection:
        row = dict(connection.execute(select(jobs).where(jobs.c.id == template.id)).mappings().one())
        states = [JobStatus.COMPLETED, JobStatus.COMPLETED, JobStatus.FAILED, JobStatus.CANCELLED, JobStatus.COMPLETED]
        connection.execute(
            insert(jobs),
            [
                row | {
                    "id": f"job-{number:06d}", "tenant_id": "abc"[number // 6 % 3], "idempotency_key": None,
                    "status": JobStatus.QUEUED if number % 6 == 0 else states[number % 5],
                    "priority": list(Priority)[number % 4], "priority_rank": number % 4,
                    "model_type": "classifier" if number % 7 else "regressor",
                }
                for number in range(ROWS)
            ],
        )  # fmt: skip
        connection.execute(text("ANALYZE"))
    return store


def plan_of(connection: Connection, statement: str, parameters: Any) -> str:
    word = "EXPLAIN QUERY PLAN" if connection.dialect.name == "sqlite" else "EXPLAIN"
    return "\n".join(str(row[-1]) for row in connection.exec_driver_sql(f"{word} {statement}", parameters))


def reads_whole_table(plan: str) -> bool:
    return any(
        line.strip().removeprefix("->").strip() == "SCAN ai_training_jobs"
        or "Seq Scan on ai_training_jobs " in line
        or "USE TEMP B-TREE" in line
        or ("Sort" in line.split("(")[0] and "Sort Key" not in line)
        for line in plan.splitlines()
    )


@pytest.mark.parametrize(
    "which",
    [
        JobFilter(), JobFilter(tenant_id="a"), JobFilter(status=JobStatus.FAILED), JobFilter(model_type="regressor"),
        JobFilter(priority=Priority.LOW), JobFilter(tenant_id="b", status=JobStatus.QUEUED),
    ],
    ids=str,
)  # fmt: skip
def test_a_page_is_read_by_index_in_its_order(which: JobFilter, many: JobStore) -> None:
    with many.database.read() as connection:
        found = page_query(which, (), page=3, page_size=20)
        inner: Select[Any] = found.get_final_froms()[0].right.element  # type: ignore[attr-defined]
        compiled = inner.compile(connection.engine, compile_kwargs={"literal_binds": True})
        plan = plan_of(connection, str(compiled).replace("%%", "%"), ())
        assert not reads_whole_table(plan), plan
        assert "ix_ai_training_jobs" in plan or "uq_ai_training_jobs" in plan


def test_pages_of_several_tenants_are_merged_in_order(many: JobStore) -> None:
    two = Principal(name="bea", kind="human", roles=(PrincipalRole.VIEWER,), tenants=("a", "c"))
    pages = [many.page(JobFilter(status=JobStatus.FAILED), two, page=page, page_size=7) for page in (1, 2, 3)]
    seen = [job for found, _ in pages for job in found]
    assert len({job.id for job in seen}) == 21
    assert {job.tenant_id for job in seen} == {"a", "c"}
    assert [job.id for job in seen] == sorted((job.id for job in seen), reverse=True)
    with many.database.read() as connection:
        counted = text("SELECT COUNT(*) FROM ai_training_jobs WHERE status = 'failed' AND tenant_id IN ('a', 'c')")
        assert pages[0][1] == connection.execute(counted).scalar_one()
    assert many.page(JobFilter(), two, page=1000) == ([], pages_total(many, two))


def pages_total(store: JobStore, by: Principal) -> int:
    return store.page(JobFilter(), by, page_size=1)[1]


def statements(database: Database, action: Callable[[], object]) -> list[tuple[str, Any]]:
    """What an action sends to the database."""
    sent: list[tuple[str, Any]] = []

    def note(
        _c: Connection, _cursor: DBAPICursor, statement: str, parameters: Any, _x: ExecutionContext, many: bool
    ) -> None:
        if statement.lstrip().startswith("SELECT") and "pg_" not in statement and not many:
            sent.append((statement, parameters))

    event.listen(database.engine, "before_cursor_execute", note)
    try:
        action()
    finally:
        event.remove(database.engine, "before_cursor_execute", note)
    return sent


@pytest.mark.parametrize("barred", [False, True], ids=["all may start", "one tenant is at its limit"])
def test_a_claim_reads_the_first_of_the_queue_by_index(many: JobStore, barred: bool) -> None:
    leases = Leases(many, TrainingSettings(max_running=10, max_running_per_tenant=1 if barred else 9))
    if barred:
        assert leases.claim("w", ["local"]) is not None
    sent = statements(many.database, lambda: leases.claim("w", ["local"]))
    asked = [(query, values) for query, values in sent if "FROM ai_training_jobs" in query and "LIMIT" in query]
    assert asked
    with many.database.begin() as connection:
        for query, values in asked:
            plan = plan_of(connection, query, values)
            assert not reads_whole_table(plan), plan


def test_a_group_at_its_limit_is_not_asked(many: JobStore) -> None:
    leases = Leases(many, TrainingSettings(max_running=10, max_running_per_tenant=1))
    for _ in range(2):
        leases.claim("w", ["local"])
    with many.database.read() as connection:
        standing = Standing.read(connection)
    free = standing.free(limits_of(leases.options), ["local", "other"])
    busy = {tenant for tenant, _ in standing.running}
    assert len(busy) == 2
    assert {tenant for tenant, _ in free} == {tenant for tenant, _ in standing.queued} - busy
    assert free
    assert standing.free(limits_of(leases.options), ["other"]) == []


def test_counting_asks_the_table_of_counts(many: JobStore) -> None:
    queue = Queue(many, TrainingSettings())
    sent = statements(many.database, lambda: (many.page(JobFilter(), OPERATOR), queue.stats(OPERATOR)))
    assert not [query for query, _ in sent if "count(" in query.lower()]
    stats = queue.stats(OPERATOR)
    assert stats.total == ROWS + 1
    with many.database.read() as connection:
        for status, count in connection.execute(text("SELECT status, COUNT(*) FROM ai_training_jobs GROUP BY status")):
            assert stats.by_status[status] == count
