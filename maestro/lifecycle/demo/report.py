"""The report of a story: one HTML page that needs nothing beside itself."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any, Protocol

_STYLE = """
body{font:16px/1.5 system-ui,sans-serif;margin:0;color:#111827;background:#f8fafc}
main{max-width:1080px;margin:0 auto;padding:24px}
h1{font-size:26px;margin:8px 0}h2{font-size:20px;margin:36px 0 8px}h3{font-size:16px;margin:20px 0 6px}
.verdict{display:inline-block;padding:4px 12px;border-radius:999px;color:#fff;font-weight:600}
.good{background:#059669}.bad{background:#dc2626}
table{border-collapse:collapse;width:100%;background:#fff;font-size:14px}
th,td{text-align:left;padding:6px 10px;border-bottom:1px solid #e5e7eb;vertical-align:top}
td.n{text-align:right;font-variant-numeric:tabular-nums}
.card{background:#fff;border:1px solid #e5e7eb;border-radius:8px;padding:12px;margin:12px 0;overflow-x:auto}
svg{max-width:100%;height:auto}code{background:#eef2f7;padding:1px 4px;border-radius:4px}
.bar{display:flex;height:22px;border-radius:6px;overflow:hidden;margin:12px 0}.bar span{display:block}
"""
_SHADES = (
    "#1d4ed8",
    "#2563eb",
    "#3b82f6",
    "#60a5fa",
    "#0891b2",
    "#059669",
    "#10b981",
    "#d97706",
    "#dc2626",
    "#7c3aed",
    "#64748b",
    "#334155",
)


class ReportRow(Protocol):
    """What the page needs of a row."""

    @property
    def number(self) -> int:
        """Its place in the story."""
        ...

    @property
    def title(self) -> str:
        """The step's name."""
        ...

    @property
    def result(self) -> str:
        """What happened."""
        ...

    @property
    def expected(self) -> bool:
        """Whether that was expected."""
        ...

    @property
    def seconds(self) -> float:
        """How long it took."""
        ...

    @property
    def where(self) -> str:
        """Where to look."""
        ...

    @property
    def sections(self) -> tuple[str, ...]:
        """Pieces of HTML."""
        ...


def write_report(rows: Sequence[ReportRow], seconds: float, path: Path, where: str = "this machine") -> None:
    """Write the page.

    Args:
        rows: the story's rows in order.
        seconds: the whole run's wall time.
        path: the file.
        where: the story was told.
    """
    good = all(row.expected for row in rows)
    total = sum(row.seconds for row in rows) or 1.0
    bar = "".join(
        f'<span title="{escape(row.title)}: {row.seconds:.1f} s" style="width:{row.seconds / total * 100:.2f}%;background:{_SHADES[i % len(_SHADES)]}"></span>'
        for i, row in enumerate(rows)
    )
    summary = html_table(
        ("", "step", "result", "seconds", "where to look"),
        [("✓" if row.expected else "✗", row.title, row.result, f"{row.seconds:.1f}", row.where) for row in rows],
    )
    details = "".join(
        f'<h2 id="step-{row.number}">{row.number}. {escape(row.title)}</h2><p>{escape(row.result)}</p>'
        + "".join(card(s) for s in row.sections)
        for row in rows
        if row.sections
    )
    verdict = "every verdict was the expected one" if good else "a verdict was not the expected one"
    path.write_text(
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>Maestro ML: the lifecycle</title><style>{_STYLE}</style></head><body><main><h1>Maestro ML: the lifecycle on {escape(where)}</h1>"
        f'<p><span class="verdict {"good" if good else "bad"}">{verdict}</span> in {seconds:.0f} seconds</p>'
        f'<div class="bar" aria-label="time of each step">{bar}</div>{summary}{details}</main></body></html>\n'
    )


def card(content: str) -> str:
    """A framed piece of HTML."""
    return f'<div class="card">{content}</div>'


def html_table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """An HTML table; every cell is escaped, numbers are set right."""
    head = "".join(f"<th>{escape(column)}</th>" for column in columns)
    body = "".join("<tr>" + "".join(_cell(value) for value in row) + "</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f'<td class="n">{value:,.4g}</td>'
    if isinstance(value, int) and not isinstance(value, bool):
        return f'<td class="n">{value:,}</td>'
    return f"<td>{escape('' if value is None else str(value))}</td>"
