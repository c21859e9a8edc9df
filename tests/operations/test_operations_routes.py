"""SLA, cost and monitoring over HTTP, and a drift check kept as a decision that is replayed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from maestro.api.app import create_app
from maestro.clients.home import Home
from maestro.core.errors import Unreachable
from maestro.governance.decisions import replay_all
from maestro.lifecycle.bootstrap import prepare
from maestro.lifecycle.composition import Platform
from maestro.monitoring.drift import Reference, check_drift, decide
from maestro.operations.drift_record import record_check
from maestro.operations.sla_monitor import SLAMonitor, slo_decision
from tests.monitoring.drift.conftest import make_table


@pytest.fixture
def platform(home: Path) -> Iterator[Platform]:
    platform = prepare(Home(home))
    yield platform
    platform.close()


@pytest.fixture
def client(platform: Platform) -> TestClient:
    token = (platform.home.keys / "user.token").read_text().strip()
    return TestClient(create_app(platform), headers={"Authorization": f"Bearer {token}"}, raise_server_exceptions=False)


def _check(platform: Platform, moved: int) -> str:
    reference, current = Reference.of(make_table(1500, 1), "here"), make_table(1500, 3, moved=moved)
    check = check_drift(reference, current, "churn")
    decision = decide(check, reference.profile, current, platform.home.root / "drift")
    kept = record_check(platform.database, platform.governance.decisions, platform.clock, check, decision)
    return kept.id


@pytest.mark.shows("I2", env="laptop")
@pytest.mark.door
def test_drift_reports_are_listed_and_shown(client: TestClient, platform: Platform) -> None:
    clean, moved = _check(platform, 0), _check(platform, 5)
    page = client.get("/monitoring/drift").json()
    assert page["total"] == 2
    assert {each["id"] for each in page["items"]} == {clean, moved}
    assert all(each["check"] is None for each in page["items"])
    assert [each["id"] for each in client.get("/monitoring/drift", params={"verdict": "drift"}).json()["items"]] == [
        moved
    ]
    shown = client.get(f"/monitoring/drift/{moved}").json()
    assert shown["check"]["verdict"]["drifted"] == [f"x{i}" for i in range(5)]
    assert shown["alarm"] == "high"
    assert client.get(f"/monitoring/drift/{'0' * 32}").status_code == 404
    assert client.get("/monitoring/drift/nonsense").status_code == 422


@pytest.mark.shows("I2", "L7", env="laptop")
def test_drift_and_slo_decisions_stand_in_the_chain_and_are_replayed(platform: Platform) -> None:
    _check(platform, 0)
    _check(platform, 5)
    report = SLAMonitor(platform.database, clock=platform.clock).generate_report(look=False)
    with platform.database.begin() as connection:
        platform.governance.decisions.record(connection, actor="system:sla-monitor", **slo_decision(report))
    reports = replay_all(platform.governance.decisions, platform.governance.replayers)
    assert [(each.kind, each.recorded.value, each.ok) for each in reports] == [
        ("drift", "no_drift", True),
        ("drift", "drift", True),
        ("slo", "freeze", True),
    ]


@pytest.mark.shows("L7", env="laptop")
@pytest.mark.door
def test_the_sla_report_over_http(client: TestClient) -> None:
    answer = client.get("/operations/sla", params={"window": "1h"})
    assert answer.status_code == 200
    assert (answer.json()["compliant"], answer.json()["verdict"]) == (False, "unknown")
    assert client.get("/operations/sla", params={"window": "soon"}).status_code == 422


@pytest.mark.shows("L5", env="laptop")
@pytest.mark.door
def test_cost_over_http(client: TestClient) -> None:
    report = client.get("/cost/report").json()
    assert report["bill_usd_micros"] == report["used_usd_micros"] + report["idle_usd_micros"] == 0
    assert client.get("/cost/entries").json() == {"items": [], "page": 1, "page_size": 50, "total": 0}
    assert client.get("/cost/entries", params={"page": 0}).status_code == 422


@pytest.mark.parametrize(
    "path", ["/operations/sla", "/cost/report", "/cost/entries", "/monitoring/drift", "/monitoring/models/m"]
)
def test_nothing_is_told_without_a_key(client: TestClient, path: str) -> None:
    assert client.get(path, headers={"Authorization": ""}).status_code == 401


def test_model_health_without_a_server_is_503_with_the_remedy(client: TestClient, platform: Platform) -> None:
    answer = client.get("/monitoring/models/m")
    assert answer.status_code == 503
    assert answer.json()["remedy"]
    with pytest.raises(Unreachable):
        platform.governance.sources("m").read("m", 0.0)
