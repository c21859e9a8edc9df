"""The table of promises: complete, its paths exist, and its states follow from what tests did."""

from __future__ import annotations

import json

from tools.capabilities import PAGE, problems, read_record, rewrite, state
from tools.markdown import row
from tools.promises import PROMISED


def line(test: str, outcome: str = "passed", *, door: bool = True, name: str = "H6", env: str = "laptop") -> str:
    return json.dumps({"test": test, "ids": [name], "env": env, "door": door, "outcome": outcome})


DOOR, OTHER = "tests/cli/test_ab.py::test_a", "tests/decisions/test_welch.py::test_b"
TABLE = "\n".join(row([name, "what", "—", "old", "ran", "not yet"]) for name in PROMISED)


def cell(lines: list[str], column: int = 4) -> str:
    text = rewrite(TABLE, read_record(lines), {})
    (found,) = [row.split("|")[column + 1].strip() for row in text.splitlines() if row.startswith("| H6 |")]
    return found


def test_every_promise_stands_and_every_path_exists() -> None:
    assert problems(PAGE.read_text()) == []


def test_a_row_is_shown_by_tests_that_passed_one_of_them_through_a_door() -> None:
    assert cell([line(DOOR), line(OTHER, door=False)]) == "ran"
    assert cell([line(DOOR), line(OTHER, door=False)], 3) == "`tests/cli/test_ab.py`, `tests/decisions/test_welch.py`"


def test_without_a_door_nothing_is_shown() -> None:
    assert cell([line(OTHER, door=False)]) == "not yet"


def test_a_failed_or_skipped_test_shows_nothing() -> None:
    assert cell([line(DOOR), line(OTHER, "failed", door=False)]) == "not yet"
    assert cell([line(DOOR), line(OTHER, "skipped", door=False)]) == "not yet"
    assert cell([line(DOOR, "skipped")]) == "not yet"


def test_no_test_means_not_yet_whatever_stood_there() -> None:
    assert cell([]) == "not yet"


def test_the_other_environment_is_not_touched() -> None:
    assert cell([line(DOOR)], 5) == "not yet"


def test_a_figure_makes_it_measured() -> None:
    evidence = read_record([line(DOOR)])["H6", "laptop"]
    assert state(evidence, "[3 ms](claims.md#x)") == "measured: [3 ms](claims.md#x)"
    assert state(None, "[3 ms](claims.md#x)") == "not yet"


def test_what_is_missing_unknown_or_not_there_is_told() -> None:
    assert "A1: missing" in problems("")
    assert any(
        text.startswith("Z9") or "nowhere/x.py" in text
        for text in problems(row(["A1", "w", "`nowhere/x.py`", "—", "ran", "—"]))
    )
