"""Every measured number is a link to its row, and every link leads somewhere."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools.claims import broken_links, figures, problems, read_claims, unclaimed

ROWS = '| <a id="demo-time"></a>Demo | wall time | `make demo` | 2 cores | 190 s | 2026-11-21 | E1, F2 |\n'


def test_the_pages_of_this_repository_are_in_order() -> None:
    assert problems() == []


@pytest.mark.parametrize(
    "text",
    [
        "takes 3.1 s",
        "12 ms at p99",
        "saves 40 %",
        "99.9% available",
        "needs 3 GB",
        "1,000 req/s",
        "2 minutes",
        "1.8× faster",
        "2x faster",
        "about 90 seconds",
    ],
)
def test_a_number_with_a_unit_needs_its_row(text: str) -> None:
    assert unclaimed(f"It {text}.") != []


@pytest.mark.parametrize(
    "text",
    [
        "takes [3.1 s](docs/claims.md#demo-time)",
        "the policy says `label_wait: 60s`",
        "```\n12 ms\n```",
        "Python 3.11",
        "two commands",
        "1.2.0",
        "F2: 4 verdicts",
        "at most 4 minutes <!-- not measured: the target -->",
    ],
)
def test_links_settings_and_output_need_none(text: str) -> None:
    assert unclaimed(text) == []


def test_a_line_number_is_told() -> None:
    assert unclaimed("a\n\n```\nx\n```\n5 ms\n") == [(6, "5 ms")]


def test_rows_are_read_and_give_figures_to_promises() -> None:
    (claim,) = read_claims(ROWS)
    assert (claim.name, claim.value, claim.shows) == ("demo-time", "190 s", ("E1", "F2"))
    assert figures(ROWS)["F2", "laptop"] == "[190 s](claims.md#demo-time)"


def test_links_that_lead_nowhere_are_told(tmp_path: Path) -> None:
    page = tmp_path / "a.md"
    (tmp_path / "b.md").write_text('# The title\n<a id="x"></a>\n')
    text = "[1](b.md) [2](b.md#the-title) [3](b.md#x) [4](https://example.org) [5](c.md) [6](b.md#y) [7](#top)\n# Top\n"
    page.write_text(text)
    assert [target for _, target in broken_links(page, text)] == ["c.md", "b.md#y"]
