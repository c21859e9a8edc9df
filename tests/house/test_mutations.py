"""The list of sabotages fits the code as it stands."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools.mutate import Mutation, load, verdict

MUTATIONS = load()


def test_there_are_thirty_and_their_names_differ() -> None:
    assert len(MUTATIONS) >= 30
    assert len({mutation.name for mutation in MUTATIONS}) == len(MUTATIONS)


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.name)
def test_a_sabotage_can_be_applied(mutation: Mutation) -> None:
    assert mutation.misfit() is None
    assert mutation.old != mutation.new


@pytest.mark.parametrize(
    ("new", "expected"),
    [("a - b", "caught"), ("b + a", "survived"), ("a +", "broke the tests")],
)
def test_only_a_failed_test_counts_as_caught(tmp_path: Path, new: str, expected: str) -> None:
    (tmp_path / "sum.py").write_text("def add(a: int, b: int) -> int:\n    return a + b\n")
    (tmp_path / "test_sum.py").write_text("from sum import add\n\ndef test_add() -> None:\n    assert add(1, 2) == 3\n")
    mutation = Mutation("x", "sum.py", "a + b", new, ("test_sum.py",))
    assert verdict(mutation, tmp_path).startswith(expected)
    assert (tmp_path / "sum.py").read_text().count("a + b") == 1


def test_a_text_that_is_not_there_is_told(tmp_path: Path) -> None:
    (tmp_path / "sum.py").write_text("")
    assert "0 times" in verdict(Mutation("x", "sum.py", "a + b", "a - b", ()), tmp_path)
