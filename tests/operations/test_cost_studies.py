"""Trials, rest and idle add up to the bill exactly, whatever ran; studies are billed as tuning."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from maestro.clients.database import Database
from maestro.clients.database.outbox import append_event
from maestro.clients.database.schema.core import outbox
from maestro.clients.database.schema.operations import cost_entries
from maestro.clients.database.schema.tuning import ai_hpo_studies, ai_hpo_trials
from maestro.core.clock import ManualClock
from maestro.core.jobs import JobRequest
from maestro.core.rates import RateCard
from maestro.operations.cost import cost_report
from maestro.operations.cost.studies import divide
from maestro.training.billing import bill_attempt

START = datetime(2026, 1, 1, tzinfo=UTC)
SECONDS = st.floats(0, 5000, allow_nan=False).map(lambda value: round(value, 3))
ATTEMPTS = st.lists(
    st.tuples(SECONDS, SECONDS, st.integers(0, 2**34), st.sampled_from(["a", "b"]), st.booleans(), st.integers(1, 4)),
    max_size=6,
)
RATES = RateCard(version="2026-01", cpu_core_hour=0.05, gpu_hour=0.25, memory_gib_hour=0.007, spot_factor=0.7)


@pytest.mark.shows("L4", "L5", env="laptop")
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(attempts=ATTEMPTS, costs=st.lists(st.integers(0, 400), max_size=12))
def test_parts_and_idle_add_up_to_the_bill(
    attempts: list[tuple[float, float, int, str, bool, int]], costs: list[int], sqlite_database: Database
) -> None:
    with sqlite_database.begin() as connection:
        for table in (cost_entries, outbox, ai_hpo_trials, ai_hpo_studies):
            connection.execute(table.delete())
        connection.execute(
            ai_hpo_studies.insert().values(
                id="study-1", tenant_id="a", name="s", status="completed", request={}, created_by="x", created_at=START
            )
        )
        for number, micros in enumerate(costs):
            connection.execute(
                ai_hpo_trials.insert().values(
                    study_id="study-1",
                    number=number,
                    state="complete",
                    params={},
                    cost_usd_micros=micros,
                    started_at=START,
                )
            )
        for number, (wall_s, cpu_s, peak, tenant, is_study, cores) in enumerate(attempts):
            request = JobRequest.model_validate(
                {
                    "name": "j",
                    "model_type": "classifier",
                    "data": {"feature_service": "f"},
                    "resources": {"cpu": cores, "memory": "2Gi", "gpu": cores % 2},
                }
            )
            bill = bill_attempt(request, wall_s, cpu_s, peak, RATES)
            study = {"model_type": "study", "study_id": "study-1"} if is_study else {"model_type": "classifier"}
            data = {
                "job_id": f"j{number}", "attempt": 1, "fence": 1, "tenant_id": tenant, "run_id": f"r{number % 2}", "bill": bill.document(),
            } | study  # fmt: skip
            append_event(connection, kind="job.completed", subject=f"job/j{number}", actor="w", data=data, at=START)
    report = cost_report(sqlite_database, RATES, ManualClock(START))
    assert report["used_usd_micros"] + report["idle_usd_micros"] == report["bill_usd_micros"]
    for group in ("by_kind", "by_subject", "by_tenant", "by_run"):
        assert sum(each["bill_usd_micros"] for each in report[group]) == report["bill_usd_micros"], group
        for each in report[group]:
            assert each["used_usd_micros"] + each["idle_usd_micros"] == each["bill_usd_micros"]
    tuning = sum(each["bill_usd_micros"] for each in report["by_kind"] if each["name"] == "tuning")
    assert tuning == sum(each["bill_usd_micros"] for each in report["by_study"])
    for study in report["by_study"]:
        assert study["rest_usd_micros"] >= 0
        assert (
            sum(part["usd_micros"] for part in study["trials"]) + study["rest_usd_micros"] == study["bill_usd_micros"]
        )
        assert [part["number"] for part in study["trials"]] == list(range(len(costs)))


@given(st.integers(0, 10**9), st.lists(st.integers(0, 10**6), max_size=30))
def test_a_bill_is_never_exceeded_by_its_parts(bill: int, parts: list[int]) -> None:
    divided = divide(bill, parts)
    assert sum(divided) == min(bill, sum(parts))
    assert all(part >= 0 for part in divided)
