"""The rollout policy: a typo or an impossible ladder is an error that names the field."""

from __future__ import annotations

import copy
from datetime import timedelta
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from maestro.core.policy import DEFAULT_RUNGS, SHORT_RUNGS, RolloutPolicy, format_duration, parse_duration

POLICY: dict[str, Any] = yaml.safe_load("""
apiVersion: maestro/v1
kind: RolloutPolicy
metadata: {name: default}
alpha: 0.05
rungs: [{weight: 1, margin_factor: 10}, {weight: 10, margin_factor: 3}, {weight: 50, margin_factor: 1}, {weight: 100, bake: 10m}]
metrics:
  - {name: errors,  bad: error,            margin: 0.01}
  - {name: slow,    bad: "latency > 0.1s", margin: 0.02}
  - {name: quality, bad: wrong,            margin: 0.03, label_wait: 60s}
gates: {contract: required, signature: required, lineage: complete, offline: {metric: f1, margin: 0.01}, approvals: 1}
budget: {requests: 200000, duration: 1h}
""")


def test_the_document_of_the_format_is_accepted() -> None:
    policy = RolloutPolicy.model_validate(POLICY)
    errors, slow, quality = policy.metrics
    assert (errors.event, slow.event, quality.event) == ("error", "latency", "wrong")
    assert errors.tolerated == 0.0025
    assert slow.latency_bound == 0.1
    assert quality.label_wait == timedelta(seconds=60)
    assert policy.budget.duration == timedelta(hours=1)
    assert RolloutPolicy.model_validate(policy.document()) == policy


@pytest.mark.shows("F2", env="laptop")
def test_the_default_ladder_is_the_longer_of_the_two_presets() -> None:
    document = {key: value for key, value in POLICY.items() if key != "rungs"}
    assert RolloutPolicy.model_validate(document).rungs == DEFAULT_RUNGS
    assert [rung.weight for rung in DEFAULT_RUNGS] == [1, 10, 50, 100]
    assert [rung.weight for rung in SHORT_RUNGS] == [10, 50, 100]


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (["aplha"], 0.05, "aplha"),
        (["alpha"], 0.5, "alpha"),
        (["rungs"], [{"weight": 100}], "rungs"),
        (["rungs", 0, "wieght"], 1, "rungs.0.wieght"),
        (["rungs", 0, "weight"], 10, "weights must rise"),
        (["rungs", 3, "weight"], 90, "last weight must be 100"),
        (["rungs", 2, "margin_factor"], 2, "margin_factor 1"),
        (["metrics", 0, "bad"], "eror", "bad must be"),
        (["metrics", 1, "bad"], "latency > 100", "bad must be"),
        (["metrics", 0, "margin"], 0, "metrics.0.margin"),
        (["metrics", 0, "tolerate"], 0.01, "tolerate must be below margin"),
        (["metrics", 1, "name"], "errors", "names must differ"),
        (["metrics"], [], "metrics"),
        (["gates", "signature"], "sometimes", "gates.signature"),
        (["budget", "duration"], "1 hour", "a duration is a number with a unit"),
        (["budget", "requests"], 0, "budget.requests"),
    ],
)
def test_a_mistake_is_an_error_that_names_the_field(path: list[str | int], value: Any, message: str) -> None:
    document = copy.deepcopy(POLICY)
    parent: Any = document
    for step in path[:-1]:
        parent = parent[step]
    parent[path[-1]] = value
    with pytest.raises(ValidationError, match=message):
        RolloutPolicy.model_validate(document)


@given(st.integers(0, 10**9))
def test_durations_survive_a_round_trip(milliseconds: int) -> None:
    span = timedelta(milliseconds=milliseconds)
    assert parse_duration(format_duration(span)) == span
