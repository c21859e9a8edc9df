"""Every PromQL expression of the repository with its place: rules, dashboards, the adapter of the autoscaler."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import cache
from typing import Any

import yaml

from tests.manifests.objects import ROOT

DASHBOARDS = tuple(sorted([*ROOT.glob("monitoring/dashboards/*.json"), *ROOT.glob("observability/dashboards/*.json")]))
RULE_FILES = tuple(sorted(ROOT.glob("monitoring/alerts/*-rules.yaml")))
HPA = ROOT / "serving/autoscaling/hpa-custom-metrics.yaml"


def panels(dashboard: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Every panel, those inside rows included."""
    for panel in dashboard["panels"]:
        yield panel
        yield from panel.get("panels", ())


def plain(expression: str) -> str:
    """An expression with its template variables filled in."""
    return re.sub(r"\$\{?\w+\}?", "x", expression)


def adapter_rules() -> list[dict[str, Any]]:
    """The rules of prometheus-adapter's configuration."""
    for body in yaml.safe_load_all(HPA.read_text()):
        if body["kind"] == "ConfigMap":
            rules: list[dict[str, Any]] = yaml.safe_load(body["data"]["config.yaml"])["rules"]
            return rules
    raise AssertionError("no configuration of the adapter")


def filled(query: str) -> str:
    """A query of the adapter as it asks it."""
    return query.replace("<<.LabelMatchers>>", 'namespace="ml-serving"').replace("<<.GroupBy>>", "pod")


@cache
def expressions() -> tuple[tuple[str, str], ...]:
    """(place, expression) of everything that asks Prometheus."""
    found: list[tuple[str, str]] = []
    for path in DASHBOARDS:
        board = json.loads(path.read_text())
        for panel in panels(board):
            found += [(f"{path.name}: {panel['title']}", plain(one["expr"])) for one in panel.get("targets", ())]
        found += [(f"{path.name}: annotation", plain(one["expr"])) for one in board["annotations"]["list"]]
        for variable in board["templating"]["list"]:
            if variable["type"] == "query":
                inside = re.fullmatch(r"label_values\((.+), \w+\)", variable["query"]["query"])
                assert inside, f"{path.name}: variable {variable['name']} is not label_values(metric, label)"
                found.append((f"{path.name}: ${variable['name']}", inside[1]))
    for path in RULE_FILES:
        for group in yaml.safe_load(path.read_text())["groups"]:
            found += [(f"{path.name}: {rule.get('alert') or rule['record']}", rule["expr"]) for rule in group["rules"]]
    for rule in adapter_rules():
        found.append((f"{HPA.name}: {rule['name']['as']}", filled(rule["metricsQuery"])))
        found.append((f"{HPA.name}: series of {rule['name']['as']}", rule["seriesQuery"]))
    return tuple(found)


def recorded() -> set[str]:
    """The series that rules record."""
    groups = [group for path in RULE_FILES for group in yaml.safe_load(path.read_text())["groups"]]
    return {rule["record"] for group in groups for rule in group["rules"] if "record" in rule}
