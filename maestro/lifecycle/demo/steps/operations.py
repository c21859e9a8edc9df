"""Step 10: what was promised against what was recorded, and what everything cost; it may honestly be non-compliant."""

from __future__ import annotations

from typing import Any

from maestro.core.money import format_usd
from maestro.lifecycle.demo.charts import Series, line_chart
from maestro.lifecycle.demo.outcome import Outcome
from maestro.lifecycle.demo.report import html_table
from maestro.lifecycle.demo.stage import Stage


def run(stage: Stage) -> Outcome:
    """The SLA report and the bill, on what the story left behind."""
    sla = stage.place.command("sla", "report", "--window", "1h")
    cost = stage.place.command("cost", "report")
    adds_up = _adds_up(cost)
    predictions = cost.get("predictions")
    sections = [
        html_table(
            ("objective", "target", "verdict", "good share", "budget left"),
            [
                (o["name"], o.get("target"), o["verdict"], o.get("availability"), o.get("budget_left"))
                for o in sla["objectives"]
            ],
        ),
        html_table(
            ("kind", "attempts", "bill", "used", "idle"),
            [
                (
                    g["name"],
                    g["attempts"],
                    _usd(g["bill_usd_micros"]),
                    _usd(g["used_usd_micros"]),
                    _usd(g["idle_usd_micros"]),
                )
                for g in (*cost["by_kind"], {"name": "bill", "attempts": cost["attempts"], **cost})
            ],
        ),
        html_table(
            ("version", "cost so far"),
            [(f"{v['model']} {v['version']}", _usd(v["cost_usd_micros"])) for v in cost["by_version"]],
        ),
    ]
    if predictions:
        points = [(point["load_per_s"], point["usd_micros_per_million"] / 1e6) for point in predictions["curve"]]
        sections.append(
            line_chart(
                "Cost of a million predictions over load",
                [Series("USD per million", points)],
                x_label="predictions a second",
                y_label="USD",
            )
        )
    measured = (predictions or {}).get("measured") or {}
    return Outcome(
        f"SLA {sla['verdict']}{_breached(sla)}: {sla['requests']:,} answers, error rate {sla['error_rate'] or 0:.2%}, p95 {_bound(sla['p95'])}, "
        f"p99 {_bound(sla['p99'])}; bill {_usd(cost['bill_usd_micros'])}, {cost['idle_share']:.0%} of it idle, parts add up"
        + (
            f"; {_usd(measured['usd_micros_per_million'])} per 1M predictions at {_rate(measured['load_per_s'])}/s"
            if measured.get("usd_micros_per_million")
            else ""
        ),
        adds_up and sla["requests"] > 0 and cost["attempts"] > 0,
        "operations/sla-monitor.py; maestro cost report",
        sections=tuple(section for section in sections if section),
        facts={"sla": sla["verdict"], "bill_usd_micros": cost["bill_usd_micros"], "requests": sla["requests"]},
    )


def _adds_up(cost: dict[str, Any]) -> bool:
    """Every breakdown is the bill to the last micro-dollar, and the bill is what was used and what idled."""
    bill = cost["bill_usd_micros"]
    sums = [sum(group["bill_usd_micros"] for group in cost[name]) for name in ("by_kind", "by_subject", "by_tenant")]
    return cost["used_usd_micros"] + cost["idle_usd_micros"] == bill and all(total == bill for total in sums)


def _breached(sla: dict[str, Any]) -> str:
    """Which objectives, in brackets."""
    names = ", ".join(each["name"] for each in sla["objectives"] if each["verdict"] == "breached")
    return f" ({names})" if names else ""


def _rate(per_s: float) -> str:
    return f"{per_s:.0f}" if per_s >= 10 else f"{per_s:.2g}"


def _usd(micros: int) -> str:
    return format_usd(micros, places=6)


def _bound(bounds: dict[str, float | None] | None) -> str:
    """A quantile from buckets is known to lie between two bounds."""
    if bounds is None:
        return "unknown"
    lower, upper = bounds.get("lower_s"), bounds.get("upper_s")
    return f"{(lower or 0) * 1000:g}–{upper * 1000:g} ms" if upper is not None else f"above {(lower or 0) * 1000:g} ms"
