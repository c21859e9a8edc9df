"""The report is one page, escapes what it shows, and says when a verdict was not the expected one."""

from __future__ import annotations

from pathlib import Path

from maestro.lifecycle.demo.report import html_table, write_report
from maestro.lifecycle.demo.story import Row


def row(number: int, *, expected: bool = True) -> Row:
    return Row(number, f"step <{number}>", "1 < 2", expected, 1.5, "somewhere", ("<p>picture</p>",))


def test_the_page_needs_nothing_beside_itself(tmp_path: Path) -> None:
    path = tmp_path / "index.html"
    write_report([row(1), row(2)], 3.0, path)
    page = path.read_text()
    assert "every verdict was the expected one" in page
    assert "step &lt;1&gt;" in page
    assert "<p>picture</p>" in page
    assert "src=" not in page
    assert "http" not in page.replace("http://www.w3.org/2000/svg", "")


def test_a_verdict_that_was_not_expected_shows(tmp_path: Path) -> None:
    path = tmp_path / "index.html"
    write_report([row(1), row(2, expected=False)], 3.0, path)
    assert "a verdict was not the expected one" in path.read_text()


def test_cells_are_escaped_and_numbers_set_right() -> None:
    table = html_table(("a",), [("<b>",), (1234,), (0.5,)])
    assert "&lt;b&gt;" in table
    assert '<td class="n">1,234</td>' in table
    assert '<td class="n">0.5</td>' in table
