"""Every route against its own description: no 500, no answer that is not documented."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.core.result import Ok
from schemathesis.schemas import APIOperation
from schemathesis.specs.openapi.checks import positive_data_acceptance

from maestro.clients.home import Home
from maestro.core.principals import PrincipalRole
from tests.serving.conftest import Client, Trained, Workshop, node, serving, split

pytestmark = pytest.mark.door

Operation = APIOperation[Any, Any, Any, Any]
Case = schemathesis.Case[Any]


@pytest.fixture(scope="module")
def served(trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Client, str]]:
    """A server with a split of two versions, and a key."""
    workshop = Workshop(Home(tmp_path_factory.mktemp("home")))
    a = workshop.register("1.0.0", {"model.onnx": trained.onnx}, trained.contract)
    b = workshop.register("1.1.0", {"model.onnx": trained.onnx}, trained.contract, statement="authorisation")
    workshop.graph({"a": node(a), "b": node(b), "ab": split("a", "b", 5000, experiment="e")}, "ab")
    key = workshop.key(PrincipalRole.SUBMITTER)
    with serving(workshop) as server:
        yield server, key


@pytest.fixture(scope="module")
def operations(served: tuple[Client, str]) -> list[Operation]:
    """Every operation of the description that the server gives of itself."""
    schema = schemathesis.openapi.from_url(f"{served[0].url}/openapi.json")
    found = list(schema.get_all_operations())
    return [result.ok() for result in found if isinstance(result, Ok)]


def try_out(operation: Operation, check: Callable[[Case], None], mode: GenerationMode, examples: int) -> None:
    """Call `check` with generated cases."""

    @settings(max_examples=examples, deadline=None, suppress_health_check=list(HealthCheck), database=None)
    @given(case=operation.as_strategy(generation_mode=mode))
    def run(case: Case) -> None:
        check(case)

    run()


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE], ids=["fitting", "unfitting"])
def test_every_answer_is_documented(
    operations: list[Operation], served: tuple[Client, str], mode: GenerationMode
) -> None:
    _, key = served

    def check(case: Case) -> None:
        response = case.call(headers={"Authorization": f"Bearer {key}"})
        # What fits the description may still break the contract of the model that is served: 4xx is then right.
        case.validate_response(response, excluded_checks=[positive_data_acceptance])

    tried = 0
    for operation in operations:
        try:
            try_out(operation, check, mode, 25)
            tried += 1
        except Unsatisfiable:
            continue  # a route without parameters cannot be asked wrongly
    assert tried >= (len(operations) if mode is GenerationMode.POSITIVE else 6)


def test_control_routes_answer_nobody_without_a_key(operations: list[Operation]) -> None:
    guarded = [operation for operation in operations if operation.path.startswith(("/admin", "/labels"))]
    assert len(guarded) == 4, "every guarded route is described"

    def check(case: Case) -> None:
        assert case.call().status_code == 401

    for operation in guarded:
        try_out(operation, check, GenerationMode.POSITIVE, 5)
