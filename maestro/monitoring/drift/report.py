"""The HTML report: Maestro's verdict on top, Evidently's pictures below it."""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from maestro.clients.evidently import EvidentlyColumn, Method, render_report
from maestro.decisions.drift import DriftVerdict
from maestro.monitoring.drift.batch import DriftCheck
from maestro.monitoring.drift.reference import Reference, sample_of

if TYPE_CHECKING:
    import pandas as pd

_STYLE = """
<style>
.maestro{font:14px/1.5 system-ui,sans-serif;color:#1b1f24;background:#fff;padding:24px 32px;border-bottom:4px solid #d0d7de}
.maestro h1{font-size:22px;margin:0 0 4px}.maestro table{border-collapse:collapse;margin:12px 0}
.maestro th,.maestro td{padding:4px 12px;border-bottom:1px solid #d0d7de;text-align:right}
.maestro th:first-child,.maestro td:first-child,.maestro td:last-child,.maestro th:last-child{text-align:left}
.maestro tr.drift td{background:#fff1e5}.maestro .no{color:#1a7f37}.maestro .yes{color:#bc4c00}
</style>
"""


def write_report(
    check: DriftCheck, reference: Reference, current: pd.DataFrame, out: Path
) -> tuple[EvidentlyColumn, ...]:
    """Write one self-contained HTML file and give Evidently's own numbers.

    Pictures are drawn from at most 10,000 rows of each side; the verdict above them rests on all rows.

    Raises:
        Unreachable: Evidently made no report.
    """
    columns = [*check.verdict.columns, *(check.target.columns if check.target else ())]
    methods: dict[str, Method] = {each.column: "ks" if each.test == "ks" else "chisquare" for each in columns}
    found = render_report(
        reference.sample,
        sample_of(current),
        methods,
        out,
        threshold=check.options.threshold,
        share=check.options.high,
    )
    page = out.read_text(encoding="utf-8")
    at = page.find("<body")
    at = page.find(">", at) + 1 if at >= 0 else 0
    out.write_text(page[:at] + _STYLE + verdict_html(check) + page[at:], encoding="utf-8")
    return found


def verdict_html(check: DriftCheck) -> str:
    """The verdict as a section of a page."""
    verdict = check.verdict
    word = '<b class="yes">drift</b>' if check.drift else '<b class="no">no drift</b>'
    quality = "".join(
        f"<li>{escape(issue.column)}: {issue.check.replace('_', ' ')} {issue.reference_share:.2%} → {issue.current_share:.2%}"
        f"{' (' + escape(', '.join(issue.examples)) + ')' if issue.examples else ''}</li>"
        for issue in check.quality.issues
    )
    return (
        f'<section class="maestro"><h1>{escape(check.dataset)}: {word}</h1>'
        f"<p>{len(verdict.drifted)} of {len(verdict.columns)} columns drift (share {verdict.share:.2f}), alarm: {verdict.alarm}. "
        f"{check.rows_current} rows against {check.rows_reference} of {escape(check.reference)}.<br>"
        f"A column drifts when its corrected p-value is below {check.options.threshold:g} and its effect is certainly above "
        f"{check.options.material:g}. PSI, and Evidently's own flags below, decide nothing.</p>"
        f"{_table(verdict)}{'<h2>Target</h2>' + _table(check.target) if check.target else ''}"
        f"{'<h2>Data quality</h2><ul>' + quality + '</ul>' if quality else ''}</section>"
    )


def _table(verdict: DriftVerdict) -> str:
    rows = "".join(
        f"<tr{' class=drift' if each.drift else ''}><td>{escape(each.column)}</td><td>{each.test}</td><td>{each.effect:.4f}</td>"
        f"<td>{each.effect_lower:.4f}</td><td>{each.p_value:.3g}</td><td>{each.p_adjusted:.3g}</td><td>{each.psi:.4f}</td>"
        f"<td>{escape(each.reason)}</td></tr>"
        for each in verdict.columns
    )
    return (
        "<table><tr><th>column</th><th>test</th><th>effect</th><th>at least</th><th>p</th><th>corrected p</th><th>PSI</th>"
        f"<th>why</th></tr>{rows}</table>"
    )
