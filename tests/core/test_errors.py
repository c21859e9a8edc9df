"""Each error carries its outward meaning; validation failures name every wrong field."""

from __future__ import annotations

import inspect

import pytest
from pydantic import ValidationError

from maestro.core import errors
from maestro.core.errors import BadInput, MaestroError, from_validation
from maestro.core.jobs import JobRequest

KINDS = [kind for kind in vars(errors).values() if inspect.isclass(kind) and issubclass(kind, MaestroError)]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_every_kind_has_an_outward_meaning(kind: type[MaestroError]) -> None:
    document = kind("it is wrong", remedy="mend it", field="x", component="c").problem()
    assert document["type"] == f"urn:maestro:problem:{kind.slug}"
    assert document["detail"] == "it is wrong"
    assert document["remedy"] == "mend it"
    assert document["field"] == "x"
    assert document["component"] == "c"
    assert kind.exit_code in {1, 2, 3, 4, 70, 130}
    assert kind.status == 200 or 400 <= kind.status < 600


def test_types_tell_the_kinds_apart() -> None:
    assert len({kind.slug for kind in KINDS}) == len(KINDS)


@pytest.mark.parametrize(
    ("kind", "status", "code"),
    [
        (errors.NegativeVerdict, 200, 1),
        (errors.BadInput, 422, 2),
        (errors.Malformed, 400, 2),
        (errors.TooLarge, 413, 2),
        (errors.NotFound, 404, 2),
        (errors.Conflict, 409, 2),
        (errors.Fenced, 409, 2),
        (errors.Unauthenticated, 401, 4),
        (errors.Refused, 403, 4),
        (errors.Untrusted, 403, 4),
        (errors.TooManyRequests, 429, 3),
        (errors.Unreachable, 503, 3),
        (errors.Interrupted, 503, 130),
    ],
)
def test_status_and_exit_code_are_the_promised_ones(kind: type[MaestroError], status: int, code: int) -> None:
    assert (kind.status, kind.exit_code) == (status, code)


@pytest.mark.shows("N5", env="laptop")
def test_validation_names_every_wrong_field() -> None:
    with pytest.raises(ValidationError) as caught:
        JobRequest.model_validate({"name": "a b", "model_type": "m", "data": {}, "workers": 0, "wrokers": 2})
    error = from_validation(caught.value, "job.json")
    assert isinstance(error, BadInput)
    named = {problem["field"] for problem in error.extra["errors"]}
    assert named == {"name", "data.feature_service", "workers", "wrokers"}
    assert "job.json" in error.detail
    assert error.field in named
    assert error.remedy
