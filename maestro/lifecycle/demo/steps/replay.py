"""Step 11: every decision of the story is computed again from its record."""

from __future__ import annotations

from collections import Counter

from maestro.lifecycle.demo.outcome import Outcome
from maestro.lifecycle.demo.report import html_table
from maestro.lifecycle.demo.stage import Stage


def run(stage: Stage) -> Outcome:
    """Replay the whole chain, and verify the audit log once more."""
    answer = stage.api("reviewer").post("/decisions/replay", {})
    audit = stage.api("reviewer").get("/audit/verify")
    good: Counter[str] = Counter(report["kind"] for report in answer["reports"] if report["ok"])
    bad = [report for report in answer["reports"] if not report["ok"]]
    rows = [(kind, count) for kind, count in sorted(good.items())]
    sections = [html_table(("kind of decision", "replayed with the same result"), rows)]
    if bad:
        sections.append(
            html_table(("kind", "recorded", "reason"), [(r["kind"], r["recorded"], r["reason"]) for r in bad])
        )
    return Outcome(
        f"{answer['count'] - len(bad)} of {answer['count']} decisions came out the same; audit log {'intact' if audit['ok'] else 'BROKEN'}",
        answer["ok"] and answer["count"] > 0 and audit["ok"],
        "maestro decisions replay --all",
        sections=tuple(sections),
        facts={"decisions": answer["count"]},
    )
