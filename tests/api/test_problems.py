"""Every failure of the control plane is a problem document, documented, and none is a traceback."""

from __future__ import annotations

import inspect
from collections.abc import Iterator

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from pydantic import BaseModel

from maestro.api import problems
from maestro.core import errors
from maestro.core.errors import MaestroError

KINDS = {
    kind.slug: kind
    for kind in vars(errors).values()
    if inspect.isclass(kind) and issubclass(kind, MaestroError) and kind.status >= 400
}


class Body(BaseModel):
    """A request."""

    workers: int
    name: str


def application() -> FastAPI:
    app = FastAPI()
    problems.install(app)

    @app.get("/fail/{slug}")
    def fail(slug: str) -> None:
        raise KINDS[slug]("it is wrong", remedy="mend it", retry_after=9)

    @app.get("/bug")
    def bug() -> None:
        raise ZeroDivisionError("deep inside")

    @app.post("/body")
    def body(value: Body) -> Body:
        return value

    return app


@pytest.fixture
def client() -> Iterator[TestClient]:
    with TestClient(application(), raise_server_exceptions=False) as client:
        yield client


@pytest.mark.shows("N5", env="laptop")
@pytest.mark.parametrize("slug", sorted(KINDS))
def test_each_error_answers_with_its_status_and_document(client: TestClient, slug: str) -> None:
    answer = client.get(f"/fail/{slug}")
    assert answer.status_code == KINDS[slug].status
    assert answer.headers["content-type"] == "application/problem+json"
    document = answer.json()
    assert document["type"] == f"urn:maestro:problem:{slug}"
    assert document["status"] == answer.status_code
    assert document["remedy"] == "mend it"
    assert ("Retry-After" in answer.headers) == (answer.status_code in {429, 503})
    assert answer.headers.get("WWW-Authenticate") == ("Bearer" if answer.status_code == 401 else None)


@pytest.mark.shows("N5", env="laptop")
def test_a_body_names_every_wrong_field(client: TestClient) -> None:
    answer = client.post("/body", json={"workers": "many"})
    assert answer.status_code == 422
    document = answer.json()
    assert {problem["field"] for problem in document["errors"]} == {"workers", "name"}
    assert document["field"] in {"workers", "name"}


@pytest.mark.parametrize(("content", "status"), [(b"{", 400), (b"", 422), (b"[]", 422), (b"\xff\xfe", 400)])
def test_a_body_that_is_no_document(client: TestClient, content: bytes, status: int) -> None:
    answer = client.post("/body", content=content, headers={"Content-Type": "application/json"})
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"


def test_what_does_not_exist_and_what_is_not_allowed(client: TestClient) -> None:
    for answer, status in ((client.get("/nowhere"), 404), (client.put("/bug"), 405)):
        assert answer.status_code == status
        assert answer.json()["status"] == status


def test_a_bug_tells_nothing_of_its_inside(client: TestClient) -> None:
    answer = client.get("/bug")
    assert answer.status_code == 500
    assert "deep inside" not in answer.text
    assert answer.json()["type"] == "urn:maestro:problem:internal"
