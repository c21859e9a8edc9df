"""A rollout's evidence for the report: bounds of each metric over the looks, and a table of its moves."""

from __future__ import annotations

from typing import Any

from maestro.lifecycle.demo.charts import Rule, Series, line_chart
from maestro.lifecycle.demo.report import html_table

_MOVES = ("promote", "roll_back", "freeze", "undecided_at_budget")


def pictures(records: list[dict[str, Any]], policy: dict[str, Any]) -> list[str]:
    """One chart a metric: the confidence sequence of challenger's rate − champion's, and the full margin."""
    charts = []
    for metric in policy["metrics"]:
        seen = [
            (look, reason)
            for look, record in enumerate(_looks(records), start=1)
            for reason in record["reasons"]
            if reason.get("metric") == metric["name"]
            and reason.get("upper") is not None
            and reason.get("lower") is not None
        ]
        band = Series("challenger − champion", [(look, r["upper"]) for look, r in seen], [r["lower"] for _, r in seen])
        limit = 3 * float(metric["margin"])
        charts.append(
            line_chart(
                f"{metric['name']}: {metric['bad']}",
                [band],
                x_label="look",
                y_label="difference of rates",
                rules=[Rule(f"margin {metric['margin']:g}", float(metric["margin"]))],
                y_range=(-limit, limit),
            )
        )
    return [chart for chart in charts if chart]


def moves(records: list[dict[str, Any]]) -> str:
    """The decisions that moved something, with the bound and the sample on which each stands."""
    rows: list[tuple[Any, ...]] = []
    for look, record in enumerate(_looks(records), start=1):
        if record["verdict"] not in _MOVES:
            continue
        rung = record["inputs"].get("rung", "")
        rows += [
            (look, rung, record["verdict"], reason["metric"], _text(reason), _sample(reason))
            for reason in record["reasons"]
            if reason.get("metric")
        ]
    return html_table(("look", "rung", "verdict", "metric", "bounds of the difference", "sample"), rows)


def _looks(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [record for record in records if record["kind"] == "rollout.step"]


def _text(reason: dict[str, Any]) -> str:
    lower, upper = reason.get("lower"), reason.get("upper")
    if lower is None or upper is None:
        return "no data"
    return f"[{lower:+.4f}, {upper:+.4f}], margin {reason.get('margin', 0):g}"


def _sample(reason: dict[str, Any]) -> str:
    counts = reason.get("counts") or {}
    parts = [f"{arm} {bad:,}/{total:,}" for arm, (bad, total) in counts.items()]
    predicted = reason.get("predicted")
    return ", ".join(parts) + (f"; predicted {predicted:,}" if predicted else "")
