"""Principals and keys over HTTP, on a prepared home."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from maestro.api.app import create_app
from maestro.clients.home import Home
from maestro.lifecycle.bootstrap import prepare
from maestro.lifecycle.composition import Platform
from maestro.security.verifiers import KeyVerifiers

As = Callable[[str], dict[str, str]]


@pytest.fixture
def platform(home: Path) -> Iterator[Platform]:
    platform = prepare(Home(home))
    yield platform
    platform.close()


@pytest.fixture
def client(platform: Platform) -> TestClient:
    return TestClient(create_app(platform), raise_server_exceptions=False)


@pytest.fixture
def by(platform: Platform) -> As:
    """The headers of a principal of the laptop."""

    def headers(name: str) -> dict[str, str]:
        return bearer((platform.home.keys / f"{name}.token").read_text().strip())

    return headers


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


@pytest.mark.shows("K5", "K8", env="laptop")
def test_a_key_lives_from_minting_to_revocation(client: TestClient, by: As, platform: Platform) -> None:
    grace = {"name": "grace", "kind": "human", "roles": ["approver"]}
    assert client.post("/principals", json=grace, headers=by("user")).status_code == 201
    minted = client.post("/principals/grace/keys", json={}, headers=by("user")).json()
    me = client.get("/whoami", headers=bearer(minted["token"]))
    assert me.json() == {"name": "grace", "kind": "human", "roles": ["approver"], "tenants": []}
    assert KeyVerifiers.load(platform.home.server_keys).authenticate(minted["token"]).name == "grace"
    listed = client.get("/keys", params={"principal": "grace"}, headers=by("user"))
    assert [key["key_id"] for key in listed.json()] == [minted["key_id"]]
    assert minted["token"].split("_", 2)[2] not in listed.text
    assert client.delete(f"/keys/{minted['key_id']}", headers=bearer(minted["token"])).status_code == 204
    refused = client.get("/whoami", headers=bearer(minted["token"]))
    assert refused.status_code == 401
    assert refused.json()["type"] == "urn:maestro:problem:unauthenticated"
    told = client.get("/audit", params={"subject": "principal/grace"}, headers=by("user")).json()["entries"]
    assert [(entry["actor"], entry["action"]) for entry in told] == [
        ("human:user", "principal.create"),
        ("human:user", "key.mint"),
        ("human:grace", "key.revoke"),
    ]
    assert minted["token"].split("_", 2)[2] not in json.dumps(told)


def test_a_disabled_principal_is_refused_until_enabled(client: TestClient, by: As) -> None:
    assert client.post("/principals/reviewer/disable", headers=by("user")).status_code == 204
    assert client.get("/whoami", headers=by("reviewer")).status_code == 401
    assert client.post("/principals/reviewer/enable", headers=by("user")).status_code == 204
    assert client.get("/whoami", headers=by("reviewer")).json()["name"] == "reviewer"


@pytest.mark.parametrize("caller", ["submitter", "reviewer", "agent", "service"])
def test_only_a_person_who_is_an_operator_gives_out_keys(client: TestClient, by: As, caller: str) -> None:
    attempts = [
        client.post("/principals", json={"name": "x", "kind": "human", "roles": ["approver"]}, headers=by(caller)),
        client.post("/principals/reviewer/keys", json={}, headers=by(caller)),
        client.post("/principals/reviewer/enable", headers=by(caller)),
    ]
    assert {answer.status_code for answer in attempts} == {403}
    assert {answer.json()["type"] for answer in attempts} == {"urn:maestro:problem:refused"}


@pytest.mark.parametrize(
    "header", [None, "Bearer ", "Bearer mk_x", "Basic abc", "Bearer mk_" + "0" * 16 + "_" + "A" * 43]
)
def test_without_a_good_key_nothing_is_told(client: TestClient, header: str | None) -> None:
    headers = {} if header is None else {"Authorization": header}
    for path in ("/whoami", "/principals", "/keys", "/audit", "/audit/verify"):
        answer = client.get(path, headers=headers)
        assert answer.status_code == 401
        assert answer.headers["WWW-Authenticate"] == "Bearer"


@pytest.mark.parametrize(
    ("body", "status", "field"),
    [
        ({"name": "a b", "kind": "human"}, 422, "name"),
        ({"name": "x", "kind": "system"}, 422, "kind"),
        ({"name": "x", "kind": "human", "roles": ["king"]}, 422, "roles.0"),
        ({"name": "x", "kind": "human", "role": []}, 422, "role"),
        ({"name": "reviewer", "kind": "agent"}, 409, "name"),
    ],
)
def test_mistakes_name_the_field(client: TestClient, by: As, body: dict[str, object], status: int, field: str) -> None:
    answer = client.post("/principals", json=body, headers=by("user"))
    assert (answer.status_code, answer.json()["field"]) == (status, field)


def test_times_and_unknown_names_are_refused(client: TestClient, by: As) -> None:
    for wrong in (0, -1, True, "60", 1.5, 10**12):
        answer = client.post("/principals/reviewer/keys", json={"expires_in_s": wrong}, headers=by("user"))
        assert (answer.status_code, answer.json()["field"]) == (422, "expires_in_s")
    assert client.post("/principals/nobody/keys", json={}, headers=by("user")).status_code == 404
    assert client.delete("/keys/" + "0" * 16, headers=by("user")).status_code == 404
    assert client.delete("/keys/x", headers=by("user")).status_code == 422
