"""Step 8: one version that is really worse and one that really errors are rolled back on evidence; one that nobody approved gets no traffic."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import httpx
import yaml

from maestro.core.errors import Conflict, Refused
from maestro.lifecycle.demo.evidence import moves, pictures
from maestro.lifecycle.demo.outcome import Outcome
from maestro.lifecycle.demo.releases import approve, calling, decisions, demo_policy, follow, last_reason, start
from maestro.lifecycle.demo.report import html_table
from maestro.lifecycle.demo.stage import Stage
from maestro.lifecycle.demo.traffic import Tally

_TIMEOUT_S = 90.0


@dataclass(frozen=True)
class _Bad:
    title: str
    version: str
    status: str
    metric: str
    text: str
    tally: Tally
    records: list[dict[str, Any]]


def run(stage: Stage) -> Outcome:
    """Both bad releases, then the one that was never approved."""
    worse = _release(stage, "worse", stage.facts["versions"]["leaky"])
    erring = _release(stage, "erring", stage.facts["versions"]["narrow"])
    stage.facts["bad"] = [worse, erring]
    refused, checks = _never_approved(stage)
    rolled_back = worse.status == erring.status == "rolled_back"
    named = worse.metric == "quality" and erring.metric == "errors"
    sections = [
        f"<h3>{bad.title}: {bad.version}</h3><p>{bad.text}</p>{moves(bad.records)}"
        + "".join(pictures(bad.records, demo_policy()))
        for bad in (worse, erring)
    ]
    return Outcome(
        f"{worse.text}; {erring.text}; failed requests {worse.tally.failed} and {erring.tally.failed}; the version nobody approved got no traffic",
        rolled_back and named and refused and worse.tally.failed == erring.tally.failed == 0,
        "maestro decisions list",
        sections=(*sections, html_table(("what was tried for the version nobody approved", "answer"), checks)),
        facts={
            bad.title: {
                "requests": bad.tally.requests,
                "fallbacks": bad.tally.fallbacks,
                "failures": bad.tally.failures,
                "metric": bad.metric,
            }
            for bad in (worse, erring)
        },
    )


def _release(stage: Stage, title: str, version: dict[str, Any]) -> _Bad:
    approve(stage, version)
    with calling(stage) as traffic:
        rollout_id = start(stage, version)
        rollout = follow(stage, rollout_id, _TIMEOUT_S)
    records = decisions(stage, rollout_id)
    reason = last_reason(records)
    bad, total = (reason.get("counts") or {}).get("challenger", (0, 0))
    text = (
        f"{version['version']} rolled back: {reason.get('metric', 'no metric')} is worse by at least {reason.get('lower') or 0:.3f} "
        f"(tolerated {reason.get('tolerate') or 0:.3f}; {bad:,} of {total:,} answers)"
        if rollout["status"] == "rolled_back"
        else f"{version['version']} ended as {rollout['status']}: {rollout['state'].get('reason', '')}"
    )
    return _Bad(title, version["version"], rollout["status"], str(reason.get("metric")), text, traffic.tally, records)


def _never_approved(stage: Stage) -> tuple[bool, list[tuple[str, str]]]:
    """A rollout is refused, an alias moves nothing, and a graph written by hand is refused by the server."""
    version = stage.facts["versions"]["unreviewed"]
    champion = stage.facts["versions"]["better"]["version"]
    checks = [("start a rollout", _start(stage, version))]
    _move_alias(stage, version)
    answered = _serving(stage)
    checks.append(
        (f"move the alias `production` to {version['version']} with an MLflow client", f"{answered} still answers")
    )
    refusal = _write_graph(stage, version)
    checks.append(("write it into the graph by hand", refusal))
    still = _serving(stage)
    checks.append(("ask the server afterwards", f"{still} still answers"))
    _restore_alias(stage)
    good = checks[0][1].startswith("refused") and answered == still == champion and "refused" in refusal
    return good, checks


def _start(stage: Stage, version: dict[str, Any]) -> str:
    try:
        start(stage, version)
    except (Refused, Conflict) as error:
        return f"refused: {error.detail}"
    return "started"


def _move_alias(stage: Stage, version: dict[str, Any]) -> None:
    _alias(stage, version["registry_version"])


def _restore_alias(stage: Stage) -> None:
    _alias(stage, stage.facts["versions"]["better"]["registry_version"])


def _alias(stage: Stage, number: str) -> None:
    """As any MLflow client does it: without asking us."""
    body = {"name": stage.model, "alias": "production", "version": str(number)}
    httpx.post(
        f"{stage.url('mlflow')}/api/2.0/mlflow/registered-models/alias", json=body, timeout=10.0
    ).raise_for_status()


def _serving(stage: Stage) -> str:
    """The version that answers a request now."""
    body = stage.facts["population"][0].asks(stage.model)
    headers = {"Authorization": f"Bearer {stage.token('service')}"}
    response = httpx.post(f"{stage.url('server')}/predict", json=body, headers=headers, timeout=10.0)
    version: str = response.headers.get("x-maestro-version", f"status {response.status_code}")
    return version.rsplit("@", 1)[-1]


def _write_graph(stage: Stage, version: dict[str, Any]) -> str:
    before = stage.place.graph()
    graph = yaml.safe_load(before)
    graph["metadata"]["revision"] += 1
    graph["root"] = "a"
    graph["nodes"] = {
        "a": {"type": "model", "model": stage.model, "version": version["version"], "digest": version["digest"]}
    }
    stage.place.write_graph(yaml.safe_dump(graph))

    def refused() -> str | None:
        refusal = stage.server().get(f"/admin/graphs/{stage.model}").get("refusal")
        return None if refusal is None else f"refused: {refusal.get('reason') or refusal.get('detail')}"

    try:
        return stage.wait_for("the server's refusal", refused, 15.0)
    finally:
        stage.place.write_graph(before)
