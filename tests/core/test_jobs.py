"""The training job: legal transitions, priorities, resources, and requests that are refused."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from maestro.core.errors import Conflict
from maestro.core.jobs import TRANSITIONS, JobRequest, JobStatus, Priority, check_transition

REQUEST: dict[str, Any] = {
    "name": "churn",
    "tenant_id": "t1",
    "model_type": "classifier",
    "priority": "normal",
    "backend": "local",
    "workers": 1,
    "data": {"feature_service": "tumour_v1", "from": "2026-01-01", "to": "2026-06-01"},
    "params": {"n_estimators": 100},
    "resources": {"cpu": 1, "memory": "2Gi", "gpu": 0},
    "timeout_s": 1800,
    "max_retries": 1,
    "register_as": "m",
}


def test_the_document_of_the_format_is_accepted_and_kept() -> None:
    request = JobRequest.model_validate(REQUEST)
    assert request.document() == REQUEST
    assert request.resources.memory_bytes == 2 * 2**30


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"name": "../x"}, "name"),
        ({"priority": "asap"}, "priority"),
        ({"workers": 0}, "workers"),
        ({"timeout_s": 0}, "timeout_s"),
        ({"data": {"feature_service": "f", "from": "2026-13-01"}}, "from"),
        ({"data": {"feature_service": "f", "from": "yesterday"}}, "from"),
        ({"resources": {"memory": "2 GB"}}, "memory"),
        ({"resources": {"cpu": 0}}, "cpu"),
        ({"epochs": 3}, "epochs"),
    ],
)
def test_a_wrong_request_names_its_field(change: dict[str, Any], field: str) -> None:
    with pytest.raises(ValidationError, match=field):
        JobRequest.model_validate(REQUEST | change)


def test_final_states_are_final_and_others_are_not() -> None:
    for status in JobStatus:
        assert status.is_final == (not TRANSITIONS[status])


@pytest.mark.parametrize("current", list(JobStatus))
@pytest.mark.parametrize("target", list(JobStatus))
def test_only_listed_transitions_are_legal(current: JobStatus, target: JobStatus) -> None:
    if target in TRANSITIONS[current]:
        check_transition(current, target, "j1")
    else:
        with pytest.raises(Conflict, match="j1 is"):
            check_transition(current, target, "j1")


def test_urgent_comes_first() -> None:
    assert sorted(Priority, key=lambda priority: priority.rank) == [
        Priority.URGENT,
        Priority.HIGH,
        Priority.NORMAL,
        Priority.LOW,
    ]
