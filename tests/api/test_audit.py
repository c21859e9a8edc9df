"""The audit log over HTTP."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import update

from maestro.api.app import create_app
from maestro.clients.database.schema.security import audit_log
from maestro.clients.home import Home
from maestro.lifecycle.bootstrap import prepare
from maestro.lifecycle.composition import Platform


@pytest.fixture
def platform(home: Path) -> Iterator[Platform]:
    platform = prepare(Home(home))
    yield platform
    platform.close()


@pytest.fixture
def client(platform: Platform) -> TestClient:
    token = (platform.home.keys / "user.token").read_text().strip()
    return TestClient(create_app(platform), headers={"Authorization": f"Bearer {token}"}, raise_server_exceptions=False)


@pytest.mark.shows("K5", "E5", env="laptop")
def test_entries_are_paged_and_filtered(client: TestClient) -> None:
    first = client.get("/audit", params={"limit": 3}).json()
    assert [entry["seq"] for entry in first["entries"]] == [1, 2, 3]
    assert first["next"] == 3
    rest = client.get("/audit", params={"after": 3, "limit": 1000}).json()
    assert rest["next"] is None
    assert rest["entries"][0]["seq"] == 4
    minted = client.get("/audit", params={"action": "key."}).json()["entries"]
    assert {entry["action"] for entry in minted} == {"key.mint"}
    assert client.get("/audit", params={"actor": "human:nobody"}).json() == {"entries": [], "next": None}


@pytest.mark.shows("K5", "E5", env="laptop")
def test_tampering_is_told_with_its_place(client: TestClient, platform: Platform) -> None:
    sound = client.get("/audit/verify").json()
    assert sound["ok"] is True
    assert sound["report"]["entries"] > 0
    with platform.database.begin() as connection:
        connection.execute(update(audit_log).where(audit_log.c.seq == 2).values(actor="human:eve"))
    told = client.get("/audit/verify").json()
    assert told["ok"] is False
    assert [(problem["kind"], problem["seq"]) for problem in told["report"]["problems"]] == [("edited", 2)]


def test_submitters_and_agents_do_not_read_the_log(client: TestClient, platform: Platform) -> None:
    for name in ("submitter", "agent"):
        token = (platform.home.keys / f"{name}.token").read_text().strip()
        headers = {"Authorization": f"Bearer {token}"}
        assert client.get("/audit", headers=headers).status_code == 403
        assert client.get("/audit/verify", headers=headers).status_code == 403


@pytest.mark.parametrize(
    "query", [{"after": -1}, {"limit": 0}, {"limit": 1001}, {"actor": "a\0"}, {"after": "x"}, {"afetr": 1}]
)
def test_bad_queries_are_refused(client: TestClient, query: dict[str, str]) -> None:
    answer = client.get("/audit", params=query)
    assert answer.status_code == 422
    assert answer.json()["field"] == f"query.{next(iter(query))}"
