"""Every route of the control plane against its own description: no 500, no answer that is not documented, nothing without a key."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import jsonschema
import pytest
import schemathesis
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import FailureGroup
from schemathesis.core.result import Ok
from schemathesis.schemas import APIOperation
from schemathesis.specs.openapi.checks import positive_data_acceptance, response_schema_conformance

from maestro.api.auth import OPEN
from tests.api.conftest import Plane

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300), pytest.mark.shows("N5", env="laptop")]

Operation = APIOperation[Any, Any, Any, Any]
Case = schemathesis.Case[Any]

SERVICES = ("/ai/experiments", "/lineage", "/monitoring/models", "/versions", "/rollouts", "/approvals", "/ai/hpo")
"""Where MLflow or the model server is asked: both answer nobody here, so that these answer 503."""

BEYOND_SCHEMA = {
    "/ai/training/jobs/start": "names that are well formed may name no feature service and no kind of model",
    "/ai/training/jobs/plan": "names that are well formed may name no feature service and no kind of model",
    "/ai/hpo/studies/start": "as for jobs; objectives must differ",
    "/approvals": "the ladder of a policy must rise, tolerances lie below margins, names differ",
    "/rollouts": "as for approvals; rates and traffic come together",
    "/rollouts/plan": "as for approvals; rates name the policy's metrics",
}
"""Bodies with rules between fields, which JSON Schema cannot say: what it allows may still be refused, with 422. Laws test what is accepted."""

PAIRS = {"/versions/{model}/{version}/compare/{other}", "/rollouts/plan"}
"""Answers with pairs (`prefixItems`), whose schema schemathesis 4.32 breaks before it checks: here jsonschema checks them."""

METHODS = {"DELETE", "GET", "PATCH", "POST", "PUT"}


@pytest.fixture(scope="module")
def operations(shared_plane: Plane) -> list[Operation]:
    """Every operation of the description that the control plane gives of itself."""
    config = schemathesis.Config()
    config.cache.enabled = False  # nothing is left in the working folder
    schema = schemathesis.openapi.from_asgi("/openapi.json", shared_plane.app, config=config)
    # a NUL in a text, which JSON Schema allows, is refused by a law of its own (test_laws.py)
    schema.config.generation.update(allow_x00=False)
    return [result.ok() for result in schema.get_all_operations() if isinstance(result, Ok)]


def try_out(
    operation: Operation,
    check: Callable[[Case], None],
    mode: GenerationMode,
    examples: int,
    path: dict[str, str] | None = None,
    headers: dict[str, str] | None = None,
) -> bool:
    """Call `check` with generated cases; False when there are none."""

    @settings(
        max_examples=examples,
        deadline=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
        database=None,
    )
    @given(case=operation.as_strategy(generation_mode=mode, path_parameters=path, headers=headers))
    def run(case: Case) -> None:
        check(case)

    try:
        run()
    except Unsatisfiable:
        return False  # a route without parameters cannot be asked wrongly
    return True


def check(case: Case) -> None:
    """The answer must be one that the description names, in every respect."""
    # the generated header is the key as well; said again, the check of authentication takes it for a real one
    key = {"Authorization": case.headers["Authorization"]}
    response = case.call(headers=key)
    path = case.operation.path
    if response.status_code == 503:
        assert path.startswith(SERVICES), f"{case.operation.label} needs no service"
    # 503 is the right answer here (above); 500 is not documented, so that the check of the status finds it
    excluded: list[Any] = [not_a_server_error]
    if path in BEYOND_SCHEMA or _has_whole_float(case.body):
        excluded.append(positive_data_acceptance)
    if path in PAIRS:
        excluded.append(response_schema_conformance)
        if response.status_code == 200:
            conforms(case.operation, response.json())
    case.validate_response(response, excluded_checks=excluded, headers=key)


def conforms(operation: Operation, answer: object) -> None:
    """Check an answer of 200 against the description."""
    document = operation.schema.raw_schema
    described = document["paths"][operation.path][operation.method]["responses"]["200"]["content"]["application/json"]
    jsonschema.Draft202012Validator(described["schema"] | {"components": document["components"]}).validate(answer)


@pytest.mark.parametrize(
    ("mode", "examples"), [(GenerationMode.POSITIVE, 8), (GenerationMode.NEGATIVE, 10)], ids=["fitting", "unfitting"]
)
def test_every_answer_is_documented(
    operations: list[Operation], shared_plane: Plane, mode: GenerationMode, examples: int
) -> None:
    key = shared_plane.key("user")
    tried = [item.label for item in operations if try_out(item, check, mode, examples, headers=key)]
    assert len(tried) > 60
    assert len(tried) == len(operations) or mode is GenerationMode.NEGATIVE


def test_what_exists_is_answered_as_documented(operations: list[Operation], shared_plane: Plane) -> None:
    known = shared_plane.known
    named = [
        (operation, {parameter.name: known[parameter.name] for parameter in operation.path_parameters})
        for operation in operations
        if operation.path_parameters and all(parameter.name in known for parameter in operation.path_parameters)
    ]
    assert len(named) > 20
    for operation, path in named:
        assert try_out(operation, check, GenerationMode.POSITIVE, 4, path, shared_plane.key("user"))


def test_nobody_is_answered_without_a_key(operations: list[Operation]) -> None:
    def closed(case: Case) -> None:
        for headers in ({}, {"Authorization": "Bearer mk_0000000000000000_" + "x" * 43}):
            response = case.call(headers=headers)
            assert response.status_code == 401
            case.validate_response(response, excluded_checks=[positive_data_acceptance])  # refused whatever it holds

    guarded = [operation for operation in operations if operation.path not in OPEN]
    assert len(guarded) > 60
    for operation in guarded:
        assert try_out(operation, closed, GenerationMode.POSITIVE, 1, _filled(operation))


def test_a_check_that_fails_is_seen(operations: list[Operation]) -> None:
    """The harness itself finds an answer that the description does not name, and one of another shape."""
    operation = next(item for item in operations if item.path == "/whoami")
    case = operation.Case(path_parameters={}, query={}, headers={}, cookies={})
    response = case.call(headers={"Authorization": "Bearer nonsense"})
    response.status_code = 418
    with pytest.raises(FailureGroup):
        case.validate_response(response)
    plan = next(item for item in operations if item.path == "/rollouts/plan")
    with pytest.raises(jsonschema.ValidationError):
        conforms(plan, {"rungs": []})


def test_a_wrong_method_names_the_right_ones(operations: list[Operation], shared_plane: Plane) -> None:
    declared: dict[str, set[str]] = {}
    for operation in operations:
        declared.setdefault(operation.path, set()).add(operation.method.upper())
    client = TestClient(shared_plane.app, headers=shared_plane.key("user"))
    for path, methods in declared.items():
        address = path
        for name in _parameters(path):
            address = address.replace(f"{{{name}}}", shared_plane.known.get(name, "0" * 32))
        for method in sorted(METHODS - methods):
            answer = client.request(method, address)
            assert answer.status_code == 405, f"{method} {address}"
            assert answer.headers["content-type"] == "application/problem+json"
            assert set(answer.headers["Allow"].split(", ")) == methods, f"{method} {address}"


def _parameters(path: str) -> Iterator[str]:
    for part in path.split("/"):
        if part.startswith("{"):
            yield part[1:-1]


def _filled(operation: Operation) -> dict[str, str] | None:
    return dict.fromkeys(_parameters(operation.path), "0" * 32) or None


def _has_whole_float(body: Any) -> bool:
    """Whether a body writes a whole number as `1.0`: JSON Schema calls it an integer, strict models do not."""
    if isinstance(body, dict):
        return any(_has_whole_float(value) for value in body.values())
    if isinstance(body, list):
        return any(_has_whole_float(value) for value in body)
    return isinstance(body, float) and body.is_integer()
