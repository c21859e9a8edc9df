"""A study as one self-contained HTML page: history, importance, front, table of trials."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from maestro.clients.optuna import plots, trial_info
from maestro.core.money import format_usd
from maestro.training.search.request import StudyRequest

if TYPE_CHECKING:
    from optuna import Study

    from maestro.training.search.result import StudyResult

_STYLE = "body{font:15px system-ui,sans-serif;margin:2rem auto;max-width:70rem;color:#1a1a1a}table{border-collapse:collapse;font-size:13px}td,th{border-bottom:1px solid #ddd;padding:.3rem .6rem;text-align:left}"


def study_page(study: Study, request: StudyRequest, result: StudyResult) -> str:
    """The page; it needs no network."""
    rows = []
    for trial in map(trial_info, study.get_trials(deepcopy=False)):
        cells = [
            str(trial.number),
            trial.state,
            ", ".join(f"{value:.5g}" for value in trial.values or ()),
            f"{float(trial.attributes.get('seconds', 0.0)):.3g}",
            ", ".join(f"{key}={value}" for key, value in trial.params.items()),
        ]
        rows.append("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in cells) + "</tr>")
    chosen = "none has completed"
    if result.best is not None:
        values = ", ".join(f"{name} {value:.5g}" for name, value in result.best.values.items())
        chosen = f"trial {result.best.number}: {values} ({result.best.rule})"
    facts = [
        f"best: {chosen}", f"{result.complete} trials completed, {result.pruned} pruned, {result.failed} failed",
        f"{result.seconds:.4g} s of training, {format_usd(result.cost_usd_micros, places=6)}", *([f"ended: {result.stopped}"] if result.stopped else []),
    ]  # fmt: skip
    drawn = plots(study, request.objectives) if result.complete > 1 else ""
    return (
        f"<!doctype html><html lang=en><meta charset=utf-8><title>Study {escape(request.name)}</title><style>{_STYLE}</style>"
        f"<h1>Study {escape(request.name)}</h1><ul>{''.join(f'<li>{escape(fact)}</li>' for fact in facts)}</ul>{drawn}"
        f"<h2>Trials</h2><table><tr><th>trial<th>state<th>value<th>seconds<th>parameters</tr>{''.join(rows)}</table></html>"
    )
