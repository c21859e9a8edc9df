"""What holds for every route, found by discovery: a new route is tested the moment that it exists, or the test says what it lacks."""

from __future__ import annotations

import sqlite3
from typing import Any

import pytest
from fastapi.testclient import TestClient

from maestro.api.problems import PROBLEM_STATUSES
from maestro.core.principals import PrincipalRole
from tests.api.conftest import FILE_JOB, Plane, address, ask, routes

pytestmark = pytest.mark.shows("N5", env="laptop")

POLICY = {
    "apiVersion": "maestro/v1", "kind": "RolloutPolicy", "metadata": {"name": "p"}, "alpha": 0.05,
    "metrics": [{"name": "errors", "bad": "error", "margin": 0.01}], "budget": {"requests": 1000, "duration": "1h"},
}  # fmt: skip
STUDY = {"name": "wide", "data": FILE_JOB["data"]}

COMPUTED = {("POST", "/rollouts/plan"), ("POST", "/decisions/replay"), ("POST", "/ai/training/jobs/plan")}
"""POST for the sake of a body: they change nothing, and a viewer may ask."""

BODIES: dict[tuple[str, str], dict[str, Any] | None] = {
    ("POST", "/approvals"): {"model": "churn", "version": "1.0.0", "policy": POLICY},
    ("POST", "/approvals/{approval_id}/approve"): {},
    ("POST", "/approvals/{approval_id}/refuse"): {},
    ("POST", "/ai/experiments"): {"name": "e"},
    ("POST", "/ai/hpo/studies/start"): STUDY,
    ("DELETE", "/ai/hpo/studies/{study_id}"): None,
    ("POST", "/ai/hpo/studies/{study_id}/train"): {},
    ("POST", "/lineage/track"): {},
    ("POST", "/principals"): {"name": "new", "kind": "human"},
    ("POST", "/principals/{name}/keys"): {},
    ("POST", "/principals/{name}/disable"): None,
    ("POST", "/principals/{name}/enable"): None,
    ("DELETE", "/keys/{key_id}"): None,
    ("POST", "/rollouts"): {"model": "churn", "version": "1.0.0", "policy": POLICY},
    ("POST", "/rollouts/rollback"): {"model": "churn"},
    ("POST", "/rollouts/{rollout_id}/abort"): {},
    ("POST", "/rollouts/{rollout_id}/resume"): None,
    ("POST", "/ai/training/jobs/start"): FILE_JOB,
    ("POST", "/ai/training/clean"): None,
    ("DELETE", "/ai/training/jobs/{job_id}"): None,
    ("POST", "/ai/training/jobs/{job_id}/retry"): None,
    ("POST", "/versions"): {"model": "churn", "run_id": "r"},
    ("POST", "/versions/{model}/{version}/promote"): {"to": "staging"},
}
"""What each route that changes something is sent; a route that stands in neither table fails the first test."""


def test_every_route_that_changes_something_is_known(shared_plane: Plane) -> None:
    changing = {(method, path) for method, path, _ in routes(shared_plane) if method != "GET"}
    assert changing == set(BODIES) | COMPUTED


def test_a_viewer_changes_nothing(client: TestClient, shared_plane: Plane) -> None:
    viewer = shared_plane.mint("watcher", PrincipalRole.VIEWER)
    before = shared_plane.platform.audit.entries(limit=1000)
    for (method, path), body in BODIES.items():
        answer = ask(client, method, address(path, shared_plane), body, viewer)
        assert answer.status_code == 403, f"{method} {path}: {answer.text}"
        assert answer.json()["type"] == "urn:maestro:problem:refused"
    after = shared_plane.platform.audit.entries(limit=1000)
    told = after[len(before) :]
    assert {entry.outcome for entry in told} <= {"refused"}, "nothing is recorded but refusals"


def test_nobody_without_a_role_reads(client: TestClient, shared_plane: Plane) -> None:
    nobody = shared_plane.mint("nobody")
    open_to_all = {"/healthz", "/readyz", "/whoami", "/ai/hpo/spaces"}
    for method, path, _ in routes(shared_plane):
        if method == "GET" and path not in open_to_all:
            answer = client.get(address(path, shared_plane), headers=nobody)
            assert answer.status_code == 403, f"{path}: {answer.status_code} {answer.text}"


def test_every_list_has_pages(client: TestClient, shared_plane: Plane) -> None:
    key = shared_plane.key("user")
    lists = 0
    for method, path, operation in routes(shared_plane):
        names = {parameter["name"] for parameter in operation.get("parameters", ())}
        if method != "GET" or not _is_list(operation, shared_plane):
            assert "page" not in names, f"{path} has pages and is no list"
            continue
        lists += 1
        assert {"page", "page_size"} <= names, path
        where = address(path, shared_plane)
        answer = client.get(where, headers=key, params={"page": 2, "page_size": 1}).json()
        assert (answer["page"], answer["page_size"]) == (2, 1)
        assert len(answer["items"]) <= 1
        for wrong in ({"page": 0}, {"page": -1}, {"page": "x"}, {"page": 10**30}, {"page_size": 0}, {"page_size": 201}):
            refused = client.get(where, headers=key, params=wrong)
            assert refused.status_code == 422, f"{path} {wrong}"
            assert refused.json()["field"] == f"query.{next(iter(wrong))}"
    assert lists >= 9


def test_every_route_documents_its_problems(shared_plane: Plane) -> None:
    for method, path, operation in routes(shared_plane):
        for status in PROBLEM_STATUSES:
            answer = operation["responses"][str(status)]
            assert list(answer["content"]) == ["application/problem+json"], f"{method} {path} {status}"
        assert operation["summary"], path


def test_what_changes_something_leaves_an_entry(plane: Plane) -> None:
    client = TestClient(plane.app, raise_server_exceptions=False)
    boss = plane.key("user")
    steps: list[tuple[str, str, dict[str, Any] | None, int, str]] = [
        ("POST", "/principals", {"name": "grace", "kind": "human", "roles": ["approver"]}, 201, "principal.create"),
        ("POST", "/principals/grace/keys", {}, 201, "key.mint"),
        ("POST", "/principals/grace/disable", None, 204, "principal.disable"),
        ("POST", "/principals/grace/enable", None, 204, "principal.enable"),
        ("POST", "/ai/training/jobs/start", FILE_JOB, 202, "job.queued"),
        ("POST", f"/ai/training/jobs/{plane.known['job_id']}/retry", None, 202, "job.queued"),
        ("POST", "/ai/hpo/studies/start", STUDY, 202, "job.queued"),
        ("DELETE", f"/ai/hpo/studies/{plane.known['study_id']}", None, 200, "job.cancelled"),
        ("POST", "/approvals", {"model": "churn", "version": "1.1.0", "policy": POLICY}, 201, "approval.submitted"),
    ]
    for method, path, body, status, action in steps:
        told = _entries(plane)
        answer = ask(client, method, path, body, boss)
        assert answer.status_code == status, f"{path}: {answer.text}"
        new = _entries(plane)[len(told) :]
        assert action in [entry.action for entry in new], f"{method} {path}: {[entry.action for entry in new]}"
        assert {entry.actor for entry in new} == {"human:user"}
    job = ask(client, "POST", "/ai/training/jobs/start", FILE_JOB, boss).json()["id"]
    assert ask(client, "DELETE", f"/ai/training/jobs/{job}", None, boss).status_code == 200
    assert (_entries(plane)[-1].action, _entries(plane)[-1].subject) == ("job.cancelled", f"job/{job}")
    key_id = ask(client, "POST", "/principals/grace/keys", {}, boss).json()["key_id"]
    assert ask(client, "DELETE", f"/keys/{key_id}", None, boss).status_code == 204
    assert _entries(plane)[-1].action == "key.revoke"


def test_what_does_not_exist_is_not_found_and_leaves_no_entry(client: TestClient, shared_plane: Plane) -> None:
    before = len(_entries(shared_plane))
    for method, path in (
        ("POST", "/rollouts/none/abort"), ("POST", "/rollouts/none/resume"), ("POST", "/approvals/none/approve"),
        ("DELETE", "/ai/training/jobs/none"), ("POST", "/ai/training/jobs/none/retry"), ("DELETE", "/ai/hpo/studies/none"),
        ("POST", "/principals/none/keys"), ("POST", "/principals/none/disable"), ("DELETE", "/keys/" + "0" * 16),
        ("POST", "/nowhere"),
    ):  # fmt: skip
        body: dict[str, Any] | None = {} if path.endswith(("abort", "approve", "keys")) else None
        answer = ask(client, method, path, body, shared_plane.key("user"))
        assert answer.status_code == 404, f"{method} {path}: {answer.text}"
        assert answer.json()["type"] == "urn:maestro:problem:not-found"
    assert len(_entries(shared_plane)) == before


@pytest.mark.parametrize(
    "extreme",
    [
        {"policy": {"alpha": 5e-324}},
        {"policy": {"metrics": [{"name": "errors", "bad": "error", "margin": 5e-324}]}},
        {"policy": {"budget": {"requests": 1, "duration": "0ms"}}},
        {"policy": {"rungs": [{"weight": weight} for weight in range(1, 101)]}},
        {"rates": {"errors": [0.0, 1.0]}},
        {"traffic": {"requests_per_s": 5e-324, "max_looks": 50}},
        {},
    ],
    ids=str,
)
def test_the_extremes_of_a_plan_are_answered(
    client: TestClient, shared_plane: Plane, extreme: dict[str, dict[str, Any]]
) -> None:
    plan: dict[str, Any] = {"rates": {"errors": 0.01}, "traffic": {"requests_per_s": 100.0, "max_looks": 200}}
    body = plan | extreme | {"policy": POLICY | extreme.get("policy", {})}
    answer = ask(client, "POST", "/rollouts/plan", body, shared_plane.key("user"))
    assert answer.status_code == 200, answer.text
    assert len(answer.json()["rungs"]) == len(body["policy"].get("rungs", "1234"))


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"traffic": {"requests_per_s": 1.7e308}}, "traffic.requests_per_s"),
        ({"traffic": {"requests_per_s": 1.0, "look_s": 2**53 - 1}}, "traffic.look_s"),
        ({"rates": {"other": 0.5}}, "rates"),
        ({"policy": POLICY | {"budget": {"requests": 1, "duration": "9" * 400 + "d"}}}, "policy.budget.duration"),
        ({"policy": POLICY | {"budget": {"requests": 1, "duration": "9" * 17 + "d"}}}, "policy.budget.duration"),
        ({"policy": POLICY | {"rungs": [{"weight": 50}, {"weight": 10}, {"weight": 100}]}}, "policy"),
    ],
    ids=str,
)
def test_a_plan_that_cannot_be_is_refused_by_field(
    client: TestClient, shared_plane: Plane, wrong: dict[str, Any], field: str
) -> None:
    body = {"policy": POLICY, "rates": {"errors": 0.01}, "traffic": {"requests_per_s": 100.0}} | wrong
    answer = ask(client, "POST", "/rollouts/plan", body, shared_plane.key("user"))
    assert (answer.status_code, answer.json()["field"]) == (422, field)


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"dimensions": {}}, "dimensions"),
        ({"timeout_s": 1.7e308, "trial_timeout_s": 1.7e308}, "timeout_s"),
        ({"objectives": ["f1", "f1"]}, "body"),
        ({"space": "none"}, "space"),
        ({"n_trials": True}, "n_trials"),
    ],
    ids=str,
)
def test_a_study_that_cannot_be_is_refused_by_field(
    client: TestClient, shared_plane: Plane, wrong: dict[str, Any], field: str
) -> None:
    answer = ask(client, "POST", "/ai/hpo/studies/start", STUDY | wrong, shared_plane.key("user"))
    assert (answer.status_code, answer.json()["field"]) == (422, field)


def test_a_locked_database_is_a_passing_trouble(plane: Plane) -> None:
    client = TestClient(plane.app, raise_server_exceptions=False)
    key = plane.key("user")
    holder = sqlite3.connect(plane.platform.home.database, isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    try:
        _is_unreachable(ask(client, "POST", "/ai/training/jobs/start", FILE_JOB, key), "another process holds")
    finally:
        holder.execute("ROLLBACK")
        holder.close()
    assert ask(client, "POST", "/ai/training/jobs/start", FILE_JOB, key).status_code == 202


@pytest.mark.parametrize("what", ["emptied", "broken", "deleted"])
def test_without_its_database_every_route_says_so(plane: Plane, what: str) -> None:
    client = TestClient(plane.app, raise_server_exceptions=False)
    key = plane.key("user")
    plane.platform.database.dispose()
    file = plane.platform.home.database
    for beside in file.parent.glob(file.name + "-*"):
        beside.unlink()
    if what == "deleted":
        file.unlink()
    else:
        file.write_bytes(b"" if what == "emptied" else b"no database at all" * 1000)
    for method, path, _ in routes(plane):
        if path == "/healthz":
            assert client.get(path).status_code == 200
            continue
        _is_unreachable(ask(client, method, address(path, plane), BODIES.get((method, path)), key), "")


def _is_unreachable(answer: Any, remedy: str) -> None:
    assert answer.status_code == 503, answer.text
    assert int(answer.headers["Retry-After"]) > 0
    assert answer.json()["type"] == "urn:maestro:problem:unreachable"
    assert remedy in answer.json()["remedy"]


def _entries(plane: Plane) -> tuple[Any, ...]:
    return plane.platform.audit.entries(limit=1000)


def _is_list(operation: dict[str, Any], plane: Plane) -> bool:
    schema = operation["responses"]["200"]["content"].get("application/json", {}).get("schema", {}) if "200" in operation["responses"] else {}  # fmt: skip
    name = str(schema.get("$ref", "")).rpartition("/")[2]
    return "page_size" in plane.app.openapi()["components"]["schemas"].get(name, {}).get("properties", {})
