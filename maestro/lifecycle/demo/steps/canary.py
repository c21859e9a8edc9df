"""Step 7: a better version earns its promotion under real traffic, by the ladder 1 → 10 → 50 → 100."""

from __future__ import annotations

from typing import Any

from maestro.governance.lineage.drawing import svg
from maestro.lifecycle.demo.evidence import moves, pictures
from maestro.lifecycle.demo.outcome import Outcome
from maestro.lifecycle.demo.releases import RATES, approve, calling, decisions, demo_policy, follow, start
from maestro.lifecycle.demo.report import html_table
from maestro.lifecycle.demo.stage import Stage
from maestro.lifecycle.demo.steps.lineage import lineage_of

_TIMEOUT_S = 150.0


def run(stage: Stage) -> Outcome:
    """Plan, approve, start, let people call, and see what was decided."""
    version = stage.facts["versions"]["better"]
    plan = stage.api("service").post(
        "/rollouts/plan", {"policy": demo_policy(), "rates": RATES, "traffic": stage.place.setting.pace.traffic}
    )
    stage.note(_plan_text(plan))
    approve(stage, version)
    with calling(stage) as traffic:
        rollout_id = start(stage, version, predicted=True)
        rollout = follow(stage, rollout_id, _TIMEOUT_S)
    tally = traffic.tally
    records = decisions(stage, rollout_id)
    stage.facts["canary"] = rollout_id
    steps = [record for record in records if record["kind"] == "rollout.step"]
    promoted = rollout["status"] == "promoted"
    alias = stage.api("reviewer").get(f"/versions/{stage.model}/aliases")["aliases"]
    deployed = lineage_of(stage, version["run_id"], {"version", "deployment"}) if promoted else None
    moved = promoted and str(alias.get("production")) == str(version["registry_version"])
    return Outcome(
        f"{version['version']} {rollout['status'].replace('_', ' ')} after {len(steps)} looks, {tally.requests:,} requests and "
        f"{len(tally.entities):,} distinct entities; {tally.failed} failed; predicted {plan['rungs'][-1]['requests'] or 0:,} requests",
        moved and tally.failed == 0,
        f"maestro deploy show {rollout_id}",
        sections=(
            "<p>Planned before it started, under the named alternative "
            f"<code>{RATES}</code>:</p>" + html_table(("rung", "requests", "seconds", "challenger's events"), _plan_rows(plan)),
            *pictures(records, demo_policy()),
            moves(records),
            *([f"<p>Its lineage, with the deployment:</p>{svg(deployed)}"] if deployed is not None else []),
        ),
        facts={"rollout": rollout_id, "requests": tally.requests, "entities": len(tally.entities), "failed": tally.failed,
               "failures": tally.failures, "looks": len(steps), "labels": tally.labels, "plan": plan},
    )  # fmt: skip


def _plan_rows(plan: dict[str, Any]) -> list[tuple[Any, ...]]:
    return [
        (f"{rung['weight']} %", rung.get("requests"), rung.get("seconds"), str(rung["events"]))
        for rung in plan["rungs"]
    ]


def _plan_text(plan: dict[str, Any]) -> str:
    policy = demo_policy()
    margins = ", ".join(f"{metric['name']} {metric['margin']:g}" for metric in policy["metrics"])
    rungs = ", ".join(f"{rung['weight']} % by {rung['requests'] or 0:,} requests" for rung in plan["rungs"])
    return f"policy demo: margins {margins}; budget {policy['budget']['requests']:,} requests in {policy['budget']['duration']}; predicted: {rungs}"
