"""Every metric that a dashboard, a rule or the autoscaler names is exported by our code, recorded by a rule, or a named component's."""

from __future__ import annotations

import re
from pathlib import Path

import httpx
import pytest
import yaml
from fastapi.testclient import TestClient

from maestro.api.app import create_app
from maestro.clients.home import Home
from maestro.core.clock import SystemClock
from maestro.core.metric_names import METRICS
from maestro.core.settings import Settings
from maestro.lifecycle.bootstrap import prepare
from maestro.observability.metrics import MetricSet
from maestro.serving.sample import write_sample
from tests.manifests.named import HPA, adapter_rules, expressions, recorded
from tests.manifests.objects import ROOT
from tests.manifests.promql import metric_names
from tests.serving.conftest import Workshop, serving

_PART = re.compile(r"_(bucket|count|sum)$")


def families(exposition: str) -> set[str]:
    """The names of the families with a sample or a declaration, counters with their `_total`."""
    found = set()
    for name, kind in re.findall(r"^# TYPE (\S+) (\S+)$", exposition, flags=re.M):
        found.add(name if kind != "counter" or name.endswith("_total") else f"{name}_total")
    return found


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """What the model server, the control plane and the worker really show at their /metrics."""
    root = tmp_path_factory.mktemp("exported")
    workshop = Workshop(Home(root / "server"))
    write_sample(workshop.home, SystemClock(), workshop.home.trust_policy)
    with serving(workshop) as client:
        client.post("/predict", json={"instances": [[1, 2, 3, 4, 1e9]]})
        server = families(client.get("/metrics").text)
    platform = prepare(Home(root / "plane"), Settings(home=root / "plane"))
    token = (platform.home.keys / "user.token").read_text().strip()
    api = TestClient(create_app(platform), headers={"Authorization": f"Bearer {token}"})
    api.get("/whoami")
    plane = families(api.get("/metrics").text)
    assert api.get("/metrics", headers={"Authorization": ""}).status_code == 401
    platform.close()
    return server | plane | families(MetricSet().exposition().decode())


# Read from rows that this test does not make; tests/operations/test_exporter.py reads each of them from the database.
FROM_ROWS = {
    name
    for name in METRICS
    if f'"{name}' in (ROOT / "tests/operations/test_exporter.py").read_text()
    and f'"{name}"' in (ROOT / "maestro/operations/exporter.py").read_text()
}


UNDER_WAY = {
    "maestro_shadow_copies_total": "pairs of a shadow are counted by the journal; nothing names the series yet"
}
"""Listed ahead of the code that exports it, with where it stands."""


def components() -> dict[str, dict[str, str]]:
    return {entry["name"]: entry for entry in yaml.safe_load((ROOT / "tests/manifests/components.yaml").read_text())}


@pytest.mark.shows("J1", "J7", "J8", "I10", "I12", "B13", "H15", env="laptop")
@pytest.mark.door
def test_every_metric_that_is_named_is_exported(exported: set[str]) -> None:
    known = exported | FROM_ROWS | recorded() | components().keys()
    missing = [
        f"{place} names {name}, which nobody exports"
        for place, expression in expressions()
        for name in metric_names(expression)
        if name not in known and _PART.sub("", name) not in known
    ]
    assert missing == []
    assert len(expressions()) > 100


def test_every_listed_metric_is_exported_somewhere(exported: set[str]) -> None:
    """What this server does not show, since it has no bandit, cache or shadow, is at least written by code beside the list."""
    code = "\n".join(path.read_text() for path in (ROOT / "maestro").rglob("*.py") if path.name != "metric_names.py")
    silent = {name for name in METRICS if name not in exported | FROM_ROWS}
    stems = {name: re.sub(r"_(hits|misses)_total$", "_", name) for name in silent}
    assert {name for name, stem in stems.items() if stem not in code} <= set(UNDER_WAY), "listed and never exported"


def test_a_component_is_named_with_a_reason_and_used() -> None:
    used = {name for _, expression in expressions() for name in metric_names(expression)}
    assert set(components()) - used == set()
    assert all(entry["component"] and entry["why"] for entry in components().values())


def test_the_autoscaler_asks_for_what_the_adapter_gives() -> None:
    given = {rule["name"]["as"] for rule in adapter_rules()}
    bodies = list(yaml.safe_load_all(HPA.read_text()))
    (scaler,) = [body for body in bodies if body["kind"] == "HorizontalPodAutoscaler"]
    asked = {one["pods"]["metric"]["name"] for one in scaler["spec"]["metrics"] if one["type"] == "Pods"}
    assert asked == given
    kinds = {one.get("resource", {}).get("name") for one in scaler["spec"]["metrics"]} - {None}
    assert kinds == {"cpu", "memory"}
    assert (scaler["spec"]["minReplicas"], scaler["spec"]["maxReplicas"]) == (1, 3)


def test_labels_that_are_asked_for_are_those_of_the_metric() -> None:
    """`by (model, arm)` of a metric of ours names labels that it has, or that a scrape adds."""
    added = {"le", "instance", "job", "pod", "namespace", "slo", "container", "service", "quantile"}
    wrong = []
    for place, expression in expressions():
        names = {_PART.sub("", name) for name in metric_names(expression)} & METRICS.keys()
        if not names:
            continue
        labels = {label for name in names for label in METRICS[name].labels} | added
        for group in re.findall(r"\b(?:by|on|ignoring) \(([^)]*)\)", expression):
            asked = {label.strip() for label in group.split(",") if label.strip()}
            wrong += [f"{place}: {label}" for label in asked - labels]
    assert wrong == []


def test_every_target_is_a_file_of_the_checkout() -> None:
    assert Path(HPA).exists()
    assert httpx.URL("http://prometheus.observability:9090").port == 9090
