"""The control plane's application as a whole: health, authentication and the documented answers of every route."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from maestro import __version__
from maestro.api.app import create_app
from maestro.api.auth import OPEN
from maestro.api.problems import PROBLEM_STATUSES
from maestro.clients.database import migrate
from maestro.lifecycle.composition import Platform
from maestro.security.signing import PrivateKey


@pytest.fixture
def platform(home: Path) -> Iterator[Platform]:
    PrivateKey.generate().save(home / "keys" / "decider.pem")
    value = Platform()
    yield value
    value.close()


def routes(platform: Platform) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Every method and path of the contract, with its description."""
    for path, methods in create_app(platform).openapi()["paths"].items():
        for method, operation in methods.items():
            yield method.upper(), path, operation


def test_it_is_live_without_a_database_and_ready_with_one(platform: Platform) -> None:
    with TestClient(create_app(platform)) as client:
        assert client.get("/healthz").json() == {"status": "ok", "version": __version__, "database": "not asked"}
        answer = client.get("/readyz")
        assert answer.status_code == 503
        assert "maestro platform migrate" in answer.json()["remedy"]
        assert int(answer.headers["Retry-After"]) > 0
        migrate(platform.database)
        assert client.get("/readyz").json()["database"] == "ok"


@pytest.mark.shows("N5", env="laptop")
def test_every_route_documents_its_failures_and_its_answer(platform: Platform) -> None:
    found = list(routes(platform))
    assert len(found) > 2
    for method, path, operation in found:
        statuses = set(operation["responses"])
        assert {str(status) for status in PROBLEM_STATUSES} <= statuses, f"{method} {path}"
        assert operation.get("summary"), f"{method} {path}"


@pytest.mark.parametrize("credential", [None, "", "nonsense", "mk_0000000000000000_" + "x" * 43])
def test_every_other_route_needs_a_credential(platform: Platform, credential: str | None) -> None:
    migrate(platform.database)
    headers = {} if credential is None else {"Authorization": f"Bearer {credential}"}
    with TestClient(create_app(platform), raise_server_exceptions=False) as client:
        for method, path, _ in routes(platform):
            if path in OPEN:
                continue
            answer = client.request(method, path.replace("{", "").replace("}", ""), headers=headers)
            assert answer.status_code == 401, f"{method} {path} answered {answer.status_code}"
            assert answer.headers["WWW-Authenticate"] == "Bearer"


def test_the_contract_names_a_problem_document(platform: Platform) -> None:
    document = create_app(platform).openapi()
    assert set(document["components"]["schemas"]["Problem"]["required"]) == {"type", "title", "status", "detail"}
