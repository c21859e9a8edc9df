"""A step of a cluster: PostgreSQL and the model server's pod are killed in mid-rollout under traffic; nothing is lost."""

from __future__ import annotations

import time
from typing import Any

from maestro.clients.kubernetes.kubectl import Kubectl
from maestro.core.errors import Unreachable
from maestro.lifecycle.demo.jobs import request, submit, wait_ended, wait_version
from maestro.lifecycle.demo.outcome import Outcome
from maestro.lifecycle.demo.places.cluster import PLATFORM, SERVING, in_cluster
from maestro.lifecycle.demo.releases import approve, calling, follow, start
from maestro.lifecycle.demo.report import html_table
from maestro.lifecycle.demo.stage import Stage

_JOB = request("again", "visits_v1", {"algorithm": "gradient_boosting", "n_estimators": 50})
_TIMEOUT_S = 150.0
_READY = '{range .items[*]}{.metadata.uid}={.status.conditions[?(@.type=="Ready")].status}{"\\n"}{end}'


def run(stage: Stage) -> Outcome:
    """A release as good as the champion; the database goes while it has a tenth of the traffic, the server's pod while it has half."""
    place = in_cluster(stage.place)
    job = wait_ended(stage, [submit(stage, _JOB)])[0]
    version = wait_version(stage, job["run_id"])
    stage.facts["again"] = version
    approve(stage, version)
    before = _counts(stage)
    with calling(stage) as traffic:
        rollout_id = start(stage, version)
        _until_weight(stage, rollout_id, 10.0)
        database_s = _killed(stage, PLATFORM, "app.kubernetes.io/name=postgresql")
        without_database = traffic.tally.failed
        _until_weight(stage, rollout_id, 50.0)
        known = traffic.tally.failed
        server_s = _killed(stage, SERVING, "app.kubernetes.io/name=model-router")
        rollout = follow(stage, rollout_id, _TIMEOUT_S)
        unanswered = traffic.tally.failed - known
    audit = stage.api("reviewer").get("/audit/verify")
    after = _counts(stage)
    kept = all(after[name] >= count for name, count in before.items())
    revision = place.graph_revision()
    tally = traffic.tally
    return Outcome(
        f"{version['version']} {rollout['status'].replace('_', ' ')} all the same; PostgreSQL back after {database_s:.0f} s with "
        f"{without_database} failed requests, the server's pod after {server_s:.0f} s with {unanswered} requests unanswered meanwhile; "
        f"jobs, decisions and audit log are whole",
        rollout["status"] == "promoted" and without_database == 0 and kept and audit["ok"],
        f"maestro deploy show {rollout_id}",
        sections=(
            html_table(
                ("what was killed", "ready again after s", "requests that failed"),
                [("PostgreSQL's pod", database_s, without_database), ("the model server's pod", server_s, unanswered)],
            ),
            html_table(("kept", "before", "after"), [(name, before[name], after[name]) for name in before]),
        ),
        facts={"rollout": rollout_id, "status": rollout["status"], "requests": tally.requests, "without_database": without_database,
               "unanswered": unanswered, "database_s": database_s, "server_s": server_s, "labels": tally.labels,
               "revision": revision, "before": before, "after": after, "failures": tally.failures},
    )  # fmt: skip


def _counts(stage: Stage) -> dict[str, int]:
    api = stage.api("reviewer")
    return {
        "jobs": stage.api("submitter").get("/ai/training/jobs", page_size=1)["total"],
        "decisions": api.get("/decisions", page_size=1)["total"],
        "audit entries": api.get("/audit/verify")["report"]["entries"],
    }


def _until_weight(stage: Stage, rollout_id: str, weight: float) -> None:
    client = stage.api("service")

    def there() -> bool | None:
        try:
            rollout: dict[str, Any] = client.get(f"/rollouts/{rollout_id}")["rollout"]
        except Unreachable:
            return None
        stage.progress.update(rollout["weight"] / 100, f"{rollout['challenger']} at {rollout['weight']:g} %")
        return True if rollout["weight"] >= weight or rollout["step"] == "done" else None

    stage.wait_for(f"{weight:g} % of the traffic", there, _TIMEOUT_S, 0.5)


def _killed(stage: Stage, namespace: str, label: str) -> float:
    """Kill the pods of a label without grace; the seconds until as many others are ready."""
    kubectl = in_cluster(stage.place).kubectl
    killed = set(_pods(kubectl, namespace, label))
    began = time.monotonic()
    kubectl.run("delete", "pod", "-n", namespace, "-l", label, "--grace-period=0", "--force")

    def replaced() -> bool | None:
        ready = {uid for uid, is_ready in _pods(kubectl, namespace, label).items() if is_ready}
        return True if len(ready - killed) >= len(killed) else None

    stage.wait_for(f"a pod in place of the killed one ({label})", replaced, _TIMEOUT_S)
    return time.monotonic() - began


def _pods(kubectl: Kubectl, namespace: str, label: str) -> dict[str, bool]:
    """Whether each pod is ready, by its uid."""
    rows = kubectl.run("get", "pod", "-n", namespace, "-l", label, "-o", f"jsonpath={_READY}").splitlines()
    return {uid: ready == "True" for uid, _, ready in (row.partition("=") for row in rows)}
