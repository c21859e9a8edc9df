"""A step of a cluster: `kubectl edit cm ab-test-config` changes the split between two promoted versions under traffic."""

from __future__ import annotations

import time
from collections import Counter
from typing import Any

import yaml

from maestro.lifecycle.demo.outcome import Outcome
from maestro.lifecycle.demo.releases import calling
from maestro.lifecycle.demo.report import html_table
from maestro.lifecycle.demo.stage import Stage

_WATCHED_S = 8.0
_NEAR = 0.05


def run(stage: Stage) -> Outcome:
    """The champion alone, half to the version before it, the champion alone again; no request fails."""
    champion, former = stage.facts["again"], stage.facts["versions"]["better"]
    before = stage.place.graph()
    with calling(stage) as traffic:
        alone = _shares(stage, traffic.tally.by_version)
        began = time.monotonic()
        stage.place.write_graph(_halves(stage, before, champion, former))
        try:
            seen = stage.wait_for("the new split", lambda: _answers(traffic.tally.by_version, former), 10.0, 0.05)
            took = time.monotonic() - began
            half = _shares(stage, traffic.tally.by_version)
        finally:
            stage.place.write_graph(_raised(before, 2))
        stage.wait_for("the old split", lambda: _gone(traffic.tally.by_version, former), 10.0, 0.5)
        again = _shares(stage, traffic.tally.by_version)
    name = str(former["version"])
    shares = [found.get(name, 0.0) for found in (alone, half, again)]
    good = shares[0] == shares[2] == 0 and abs(shares[1] - 0.5) < _NEAR and seen
    return Outcome(
        f"half of the traffic went to {name} {took:.1f} s after the edit ({shares[1]:.1%}), none before and after; {traffic.tally.failed} failed",
        good and traffic.tally.failed == 0 and took < 5.0,
        "kubectl get cm ab-test-config -n ml-serving -o yaml",
        sections=(html_table(("graph", f"share of {name}"), list(zip(("before", "edited", "put back"), shares, strict=True))),),
        facts={"shares": shares, "seconds": took, "requests": traffic.tally.requests, "failed": traffic.tally.failed},
    )  # fmt: skip


def _halves(stage: Stage, before: str, champion: dict[str, Any], former: dict[str, Any]) -> str:
    graph = yaml.safe_load(_raised(before, 1))
    graph["root"] = "ab"
    graph["nodes"] = {
        "ab": {"type": "split", "arms": [{"node": "now", "weight": 5000}, {"node": "former", "weight": 5000}], "fallback": "now"},
        "now": _node(stage, champion),
        "former": _node(stage, former),
    }  # fmt: skip
    return yaml.safe_dump(graph, sort_keys=False)


def _node(stage: Stage, version: dict[str, Any]) -> dict[str, Any]:
    return {"type": "model", "model": stage.model, "version": version["version"], "digest": version["digest"]}


def _raised(text: str, by: int) -> str:
    graph = yaml.safe_load(text)
    graph["metadata"]["revision"] += by
    return yaml.safe_dump(graph, sort_keys=False)


def _shares(stage: Stage, counted: Counter[str]) -> dict[str, float]:
    """Shares of the answers while it is watched, by version."""
    before = counted.copy()
    time.sleep(_WATCHED_S)
    found = counted.copy()
    found.subtract(before)
    total = sum(found.values()) or 1
    return {name.rpartition("@")[2]: count / total for name, count in found.items()}


def _answers(counted: Counter[str], version: dict[str, Any]) -> bool | None:
    before = counted.copy()
    time.sleep(0.2)
    return True if _of(counted, version) > _of(before, version) else None


def _gone(counted: Counter[str], version: dict[str, Any]) -> bool | None:
    before = _of(counted, version)
    time.sleep(1.0)
    return True if _of(counted, version) == before else None


def _of(counted: Counter[str], version: dict[str, Any]) -> int:
    return sum(count for name, count in counted.copy().items() if name.rpartition("@")[2] == version["version"])
