"""Releases as the story's people make them: submitted by one, approved by another, rolled out under real traffic."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import yaml

from maestro.core.errors import NegativeVerdict, Unreachable
from maestro.lifecycle.demo.stage import Stage
from maestro.lifecycle.demo.traffic import Traffic

_POLICY = Path("governance/policies/demo.yaml")
RATES: dict[str, Any] = {"errors": 0.001, "slow": 0.01, "quality": [0.31, 0.30]}
"""The named alternative of the predicted sample: equal errors and latency, one answer in a hundred better."""


@cache
def demo_policy() -> dict[str, Any]:
    """The policy `demo`.

    Raises:
        NegativeVerdict: the file is not where the story runs.
    """
    if not _POLICY.exists():
        raise NegativeVerdict(f"{_POLICY} is not here", remedy="run this in the project's folder")
    document: dict[str, Any] = yaml.safe_load(_POLICY.read_text())
    return document


def approve(stage: Stage, version: dict[str, Any]) -> dict[str, Any]:
    """Submit a version and have the reviewer approve it; returns the approval.

    Raises:
        NegativeVerdict: a gate did not pass.
    """
    approval = submit(stage, version)
    if approval["status"] != "pending":
        failed = [gate for gate in approval["evidence"]["gates"] if not gate["passed"]]
        raise NegativeVerdict(
            f"{version['version']}: " + "; ".join(f"{gate['gate']}: {gate['reason']}" for gate in failed)
        )
    answered: dict[str, Any] = stage.api("reviewer").post(
        f"/approvals/{approval['id']}/approve", {"comment": "gates and evidence read"}
    )
    return answered


def submit(stage: Stage, version: dict[str, Any]) -> dict[str, Any]:
    """Ask for approval under the policy `demo`."""
    body = {"model": stage.model, "version": version["version"], "policy": demo_policy()}
    approval: dict[str, Any] = stage.api("submitter").post("/approvals", body)
    return approval


def calling(stage: Stage) -> Traffic:
    """The story's callers, who ask for as long as the block lasts."""
    return Traffic(
        stage.url("server"), stage.token("service"), stage.model, stage.facts["population"],
        labels=stage.server(), rate=stage.place.setting.pace.rate,
    )  # fmt: skip


def start(stage: Stage, version: dict[str, Any], *, predicted: bool = False) -> str:
    """Start a rollout; returns its id."""
    body: dict[str, Any] = {"model": stage.model, "version": version["version"], "policy": demo_policy()}
    if predicted:
        body |= {"rates": RATES, "traffic": stage.place.setting.pace.traffic}
    return str(stage.api("service").post("/rollouts", body)["rollout"]["id"])


def follow(stage: Stage, rollout_id: str, timeout_s: float) -> dict[str, Any]:
    """The rollout once it has ended."""
    client = stage.api("service")

    def ended() -> dict[str, Any] | None:
        try:
            view = client.get(f"/rollouts/{rollout_id}")
        except Unreachable as error:
            # the rollout's own controller waits for its database too
            stage.progress.update(0.0, error.detail)
            return None
        rollout: dict[str, Any] = view["rollout"]
        stage.progress.update(rollout["weight"] / 100, _said(view))
        return rollout if rollout["step"] == "done" else None

    return stage.wait_for(f"the end of rollout {rollout_id}", ended, timeout_s, 0.5)


def _said(view: dict[str, Any]) -> str:
    rollout, decision = view["rollout"], view.get("decision") or {}
    bounds = [
        f"{reason['metric']} [{reason['lower']:+.3f}, {reason['upper']:+.3f}] < {reason['margin']:g}"
        for reason in decision.get("reasons", [])
        if reason.get("metric") and reason.get("upper") is not None and reason.get("lower") is not None
    ]
    return f"{rollout['challenger']} at {rollout['weight']:g} %  " + "  ".join(bounds)


def decisions(stage: Stage, rollout_id: str) -> list[dict[str, Any]]:
    """Every decision of a rollout in order."""
    found: list[dict[str, Any]] = []
    page = 1
    while True:
        answer = stage.api("reviewer").get("/decisions", rollout=rollout_id, page=page, page_size=200)
        found += answer["items"]
        if len(found) >= answer["total"] or not answer["items"]:
            return found[::-1]
        page += 1


def last_reason(records: list[dict[str, Any]]) -> dict[str, Any]:
    """The reason that carried the roll-back: the metric shown to be worse by the most above what is tolerated."""
    for record in reversed(records):
        reasons = [reason for reason in record["reasons"] if reason.get("verdict") == "roll_back"]
        if reasons:
            found: dict[str, Any] = max(reasons, key=lambda reason: float(reason["lower"] - reason["tolerate"]))
            return found
    return {}
