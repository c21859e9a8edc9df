"""Step 6: automated gates, a human approval by somebody else with a key of their own, and the audit log that shows it."""

from __future__ import annotations

from maestro.core.errors import Conflict, MaestroError, Refused
from maestro.lifecycle.demo.outcome import Outcome
from maestro.lifecycle.demo.releases import approve, follow, start, submit
from maestro.lifecycle.demo.report import html_table
from maestro.lifecycle.demo.stage import Stage


def run(stage: Stage) -> Outcome:
    """Who may not approve is refused; the reviewer approves; the first version goes into production."""
    baseline = stage.facts["versions"]["baseline"]
    request = submit(stage, baseline)
    gates = [
        (gate["gate"], "passed" if gate["passed"] else "failed", gate["reason"])
        for gate in request["evidence"]["gates"]
    ]
    refusals = [(actor, _try(stage, actor, request["id"])) for actor in ("submitter", "agent", "service")]
    approved = approve(stage, baseline)
    rollout = follow(stage, start(stage, baseline), 60.0)
    audit = stage.api("reviewer").get("/audit/verify")
    refused = all(text.startswith("refused") for _, text in refusals)
    return Outcome(
        f"{len(gates)} gates passed; approval refused to {', '.join(name for name, _ in refusals)}, given by {approved['decided_by']}; "
        f"{stage.model} {baseline['version']} is in production; audit log intact",
        refused and approved["status"] == "approved" and rollout["status"] == "promoted" and audit["ok"],
        "maestro approval list; maestro audit verify",
        sections=(
            html_table(("gate", "verdict", "reason"), gates),
            html_table(("who tried to approve", "answer"), [*refusals, (approved["decided_by"], "approved")]),
        ),
        facts={"approval": approved["id"], "audit": audit},
    )


def _try(stage: Stage, actor: str, approval: str) -> str:
    try:
        stage.api(actor).post(f"/approvals/{approval}/approve", {})
    except (Refused, Conflict) as error:
        return f"refused: {error.detail}"
    except MaestroError as error:
        return f"failed: {error.detail}"
    return "approved"
