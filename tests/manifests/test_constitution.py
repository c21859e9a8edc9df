"""The manifest constitution holds for every object; each exception is named with its reason and still needed."""

from __future__ import annotations

import pytest

from tests.manifests.constitution import RULES, excused, violations
from tests.manifests.objects import manifests


def test_manifests_are_found() -> None:
    assert len(manifests()) > 10
    assert len({manifest.path for manifest in manifests()}) > 2


@pytest.mark.parametrize("name", sorted(RULES))
def test_every_object_keeps_the_rule(name: str) -> None:
    found = violations(name)
    assert [problem for key, problems in found.items() if (name, key) not in excused() for problem in problems] == []
    assert [key for rule, key in excused() if rule == name and key not in found] == [], "exceptions no longer needed"


def test_every_exception_has_a_reason_and_a_rule() -> None:
    assert all(reason and len(reason) > 20 for reason in excused().values())
    assert {rule for rule, _ in excused()} <= set(RULES)


def test_no_object_stands_twice() -> None:
    keys = [manifest.key for manifest in manifests()]
    assert sorted({key for key in keys if keys.count(key) > 1}) == []
