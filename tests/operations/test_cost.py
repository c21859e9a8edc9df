"""Cost: one entry for each attempt, parts that add up to the bill, a price of predictions that is a curve over load."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from maestro.cli.console import invoke
from maestro.cli.cost import app
from maestro.clients.database import Database, migrate, open_database
from maestro.clients.database.outbox import append_event, events
from maestro.clients.exposition import parse_exposition
from maestro.core.clock import ManualClock, SystemClock
from maestro.core.errors import BadInput, Unreachable
from maestro.core.rates import load_rates
from maestro.decisions.cost import Allocation, Usage, attribute
from maestro.operations.cost import CostEntry, CostLedger, ServingUse, cost_report, measure_server
from tests.operations.conftest import MetricsServer

START = datetime(2026, 1, 1, tzinfo=UTC)


def _attempt(
    database: Database,
    job: str,
    attempt: int,
    *,
    kind: str = "job.completed",
    tenant: str = "t1",
    wall_s: float = 90.0,
    cpu_s: float = 41.0,
) -> None:
    """End an attempt as training does: with its bill in the event."""
    allocation = Allocation(wall_s=wall_s, cores=2.0, gpus=1)
    shares = attribute(allocation, {"attempt": Usage(core_seconds=cpu_s, gpu_seconds=wall_s)}, load_rates())
    bill = {
        "wall_s": wall_s, "cpu_s": cpu_s, "cores": 2.0, "gpus": 1, "memory_gib": 2.0, "rates": load_rates().version,
        "bill_usd_micros": shares.bill, "used_usd_micros": shares.parts["attempt"],
    }  # fmt: skip
    data = {"job_id": job, "attempt": attempt, "fence": attempt + 10, "tenant_id": tenant, "run_id": "r1", "bill": bill}
    with database.begin() as connection:
        append_event(connection, kind=kind, subject=f"job/{job}", actor="system:w", data=data, at=START)


def _use(**changes: Any) -> ServingUse:
    fields = {
        "server": "s",
        "started": START,
        "at": START + timedelta(hours=1),
        "cores": 1.0,
        "cpu_s": 360.0,
        "predictions": 36_000,
    }
    return ServingUse(**(fields | changes))


@pytest.mark.shows("L4", "L5", env="laptop")
def test_every_attempt_is_billed_once_retries_too_and_parts_add_up(database: Database) -> None:
    _attempt(database, "j1", 1, kind="job.requeued", wall_s=10.0, cpu_s=3.0)
    _attempt(database, "j1", 2)
    _attempt(database, "j2", 1, kind="job.failed", tenant="t2", wall_s=7.3, cpu_s=1.1)
    report = cost_report(database, load_rates(), ManualClock(START), _use())
    again = cost_report(database, load_rates(), ManualClock(START), _use())
    assert again == report
    assert report["attempts"] == 4
    # 90 s of 2 cores at $0.05 an hour and of 1 GPU at $0.25 an hour
    job = next(each for each in report["by_subject"] if each["name"] == "job/j1")
    assert job["attempts"] == 2
    assert job["bill_usd_micros"] == round(1e6 * (2 * 0.05 + 0.25) * 90 / 3600) + round(
        1e6 * (2 * 0.05 + 0.25) * 10 / 3600
    )
    for group in ("by_kind", "by_subject", "by_tenant"):
        assert sum(each["bill_usd_micros"] for each in report[group]) == report["bill_usd_micros"]
        assert (
            sum(each["used_usd_micros"] + each["idle_usd_micros"] for each in report[group])
            == report["bill_usd_micros"]
        )
    assert report["used_usd_micros"] + report["idle_usd_micros"] == report["bill_usd_micros"]
    assert [each["name"] for each in report["by_tenant"]] == ["default", "t1", "t2"]


def test_a_subscriber_and_the_report_keep_one_entry(database: Database) -> None:
    _attempt(database, "j1", 1)
    ledger = CostLedger(database)
    with database.read() as connection:
        (event,) = events(connection)
    ledger.take(event)
    ledger.take(event)
    assert ledger.catch_up() == 0
    with database.read() as connection:
        (entry,) = ledger.entries(connection)
        assert ledger.count(connection, kind="training") == 1
        assert ledger.count(connection, tenant_id="nobody") == 0
    assert (entry.subject, entry.attempt, entry.tenant_id) == ("job/j1", "1.11", "t1")
    assert entry.allocated == {"cores": 2.0, "gpus": 1, "memory_gib": 2.0, "run_id": "r1"}


def test_an_attempt_without_bill_or_of_another_kind_costs_nothing(database: Database) -> None:
    with database.begin() as connection:
        append_event(connection, kind="job.requeued", subject="job/j", actor="a", data={"job_id": "j"}, at=START)
        append_event(connection, kind="rollout.moved", subject="model/m", actor="a", data={"bill": {}}, at=START)
    assert CostLedger(database).catch_up() == 0


def test_more_use_than_bill_is_refused(database: Database) -> None:
    entry = CostEntry(
        at=START, kind="training", subject="job/j", attempt="1", wall_s=1, cpu_s=1, allocated={}, used_usd_micros=2, bill_usd_micros=1, rates="r"
    )  # fmt: skip
    with database.begin() as connection, pytest.raises(BadInput, match="more was used than billed"):
        CostLedger(database).record(connection, entry)


def test_a_server_is_one_entry_that_grows_with_its_life(database: Database) -> None:
    clock = ManualClock(START)
    first = cost_report(database, load_rates(), clock, _use(at=START + timedelta(minutes=1), cpu_s=6.0))
    later = cost_report(database, load_rates(), clock, _use())
    assert (first["attempts"], later["attempts"]) == (1, 1)
    assert later["bill_usd_micros"] == 50_000
    assert later["used_usd_micros"] == 5_000
    assert later["idle_share"] == pytest.approx(0.9)
    earlier = cost_report(database, load_rates(), clock, _use(at=START + timedelta(minutes=1), cpu_s=6.0))
    assert earlier["bill_usd_micros"] == 50_000
    restarted = cost_report(
        database, load_rates(), clock, _use(started=START + timedelta(hours=2), at=START + timedelta(hours=3))
    )
    assert restarted["bill_usd_micros"] == 100_000


def test_a_million_predictions_have_a_price_only_at_a_load() -> None:
    use = _use()
    assert use.capacity_per_s == pytest.approx(100.0)
    curve = use.curve(load_rates())
    prices = [point.per_million for point in curve]
    assert prices[:6] == sorted(prices[:6], reverse=True)
    assert curve[0].idle_share == pytest.approx(0.999)
    # an hour of a core buys 360,000 predictions at capacity, so a million at half of it costs 50,000 / 0.18
    assert next(point for point in curve if point.load_per_s == pytest.approx(50.0)).per_million == round(50_000 / 0.18)
    assert curve[-1].replicas == 3
    assert _use(predictions=0).curve(load_rates()) == ()


def test_use_beyond_the_allocation_is_billed_as_the_allocation() -> None:
    entry = _use(cpu_s=9_999.0).entry(load_rates())
    assert entry.bill_usd_micros == entry.used_usd_micros == 50_000


def test_a_server_is_measured_by_its_metrics_or_by_its_process(server: MetricsServer) -> None:
    server.metrics.histogram("maestro_inference_batch_size").labels(model="m").observe(30)
    samples = parse_exposition(server.metrics.exposition().decode())
    with pytest.raises(Unreachable, match="CPU seconds"):
        measure_server("s", samples, SystemClock(), cores=1.0)
    own = measure_server("s", samples, SystemClock(), cores=1.0, pid=os.getpid())
    assert own.predictions == 30
    assert own.cpu_s == pytest.approx(sum(os.times()[:4]), abs=2.0)
    assert 0 < own.wall_s < 3600
    told = dict(samples) | {
        ("process_cpu_seconds_total", ()): 7.5,
        ("process_start_time_seconds", ()): START.timestamp(),
    }
    use = measure_server("s", told, ManualClock(START + timedelta(hours=1)), cores=2.0)
    assert (use.cpu_s, use.wall_s, use.cores) == (7.5, 3600.0, 2.0)


@pytest.mark.shows("L4", "L5", env="laptop")
@pytest.mark.door
def test_the_command_prints_a_bill_that_adds_up(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    database = open_database(f"sqlite:///{home / 'maestro.db'}")
    migrate(database)
    _attempt(database, "j1", 1)
    database.dispose()
    assert invoke(app, "cost", ["report", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["rates"]["cpu_core_hour"] == 0.05
    assert report["rates"]["gpu_hour"] == 0.25
    assert report["bill_usd_micros"] == 8750 == report["used_usd_micros"] + report["idle_usd_micros"]
    assert report["predictions"] is None
    assert invoke(app, "cost", ["report"]) == 0
    assert "bill $0.008750 = used" in capsys.readouterr().out


@pytest.mark.door
def test_without_a_platform_the_command_says_what_to_do(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert invoke(app, "cost", ["report"]) == 3
    assert "maestro platform migrate" in capsys.readouterr().err
