"""Lineage from what runs left behind: complete, exportable, and valid by the published schema."""

from __future__ import annotations

import json
import os
import xml.etree.ElementTree as ET
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from maestro.core.errors import NotFound
from maestro.core.policy import RolloutPolicy
from maestro.governance.lineage import LineageGraph
from maestro.governance.lineage.drawing import html, svg
from maestro.governance.lineage.tree import tree
from maestro.governance.versions import ModelVersion
from tests.governance.conftest import OPS, Kit, contract


@pytest.fixture
def deployed(kit: Kit, policy: RolloutPolicy) -> tuple[Kit, ModelVersion]:
    """A version in production; its lineage is brought by events."""
    version = kit.champion(policy)
    from maestro.clients.database.outbox import events

    with kit.database.read() as connection:
        told = events(connection)
    for _ in range(2):  # delivered at least once
        for event in told:
            kit.governance.lineage.on_event(event)
    return kit, version


@pytest.mark.shows("D10", "D11", "D12", "D13", "D14", "A3", "E5", env="laptop")
def test_from_data_to_deployment(deployed: tuple[Kit, ModelVersion]) -> None:
    kit, version = deployed
    graph = kit.governance.lineage.graph(run_id=version.run_id)
    assert [node.kind for node in graph.nodes] == ["data", "features", "run", "version", "deployment"]
    edges = {(edge.source.split("/")[0], edge.target.split("/")[0]) for edge in graph.edges}
    assert edges == {("data", "features"), ("features", "run"), ("run", "versions"), ("versions", "deployment")}
    facts = {node.kind: node.facts for node in graph.nodes}
    data = facts["data"]
    assert (data["version"], data["source"], data["rows"], data["sample_count"]) == (
        "0123456789ab", "statsmodels randhie", 1000, 800,
    )  # fmt: skip
    assert data["schema"]["any_visit"] == "long"
    assert (facts["features"]["service"], facts["features"]["views"], facts["features"]["features"]) == (
        "visits_v1", ["coverage"], ["a", "b"],
    )  # fmt: skip
    run = facts["run"]
    assert (run["algorithm"], run["hyperparameters"], run["training_time_s"], run["code"]) == (
        "forest", {"depth": 3}, 1.5, "0.1.0+" + "a" * 12,
    )  # fmt: skip
    assert facts["version"]["digest"] == version.digest
    deployment = facts["deployment"]
    assert (deployment["environment"], deployment["strategy"], deployment["verdict"]) == (
        "production",
        "first",
        "promoted",
    )
    assert deployment["endpoint"].endswith(f"/v2/models/{kit.model}")
    assert deployment["configuration"]["graph_revision"] == 1
    assert {node.kind for node in kit.governance.lineage.graph(model=kit.model).nodes} == set(facts)
    assert kit.governance.lineage.graph(model="other").nodes == ()


@pytest.mark.shows("D15", env="laptop")
def test_printed_exported_drawn_and_kept_with_the_run(deployed: tuple[Kit, ModelVersion]) -> None:
    kit, version = deployed
    graph = kit.governance.lineage.graph(run_id=version.run_id)
    lines = tree(graph).splitlines()
    assert lines[0].startswith("data visits@0123456789ab")
    assert lines[-1].strip().startswith("└─ deployment")
    assert LineageGraph.model_validate_json(graph.model_dump_json()) == graph
    drawing = ET.fromstring(svg(graph))  # noqa: S314 - our own drawing
    namespace = "{http://www.w3.org/2000/svg}"
    assert len(drawing.findall(f".//{namespace}rect")) == 5
    assert len(drawing.findall(f".//{namespace}path")) == 4
    page = html(graph, "<title>")
    assert "&lt;title&gt;" in page
    assert "<script" not in page
    assert "src=" not in page
    registry = kit.store.registry
    kept = registry.artifact_text(version.run_id, "lineage/graph.json")
    assert kept is not None
    assert LineageGraph.model_validate_json(kept) == graph
    assert (registry.artifact_text(version.run_id, "lineage/graph.svg") or "").startswith("<svg")


def test_a_run_of_any_other_training_has_lineage_too(kit: Kit) -> None:
    run_id, _ = kit.store.log(kit.home.root / "built", {"m": b"x"}, agreed=contract(), facts=False)
    kit.store.tracking.log_dataset(
        run_id, name="table", digest="12345678", rows=3, schema={"a": "double"}, source={"source": "a file"}
    )
    graph = kit.governance.lineage.require(run_id)
    assert [node.kind for node in graph.nodes] == ["data", "run"]
    with pytest.raises(NotFound, match="run 0000"):
        kit.governance.lineage.require("0000")


def test_missing_links_are_named(kit: Kit) -> None:
    run_id, uri = kit.store.log(kit.home.root / "built", {"m": b"x"}, agreed=contract(), facts=False)
    version = kit.governance.registrar.register(kit.registration(run_id, uri))
    assert kit.governance.lineage.missing(version) == ("data", "features")


def test_track_records_what_events_have_not_brought(kit: Kit, policy: RolloutPolicy) -> None:
    version = kit.register(f1=0.8)
    assert kit.governance.lineage.track() == [version.key]
    assert kit.governance.lineage.track() == []
    kit.approved(version, policy)
    rollout = kit.governance.rollouts.start(OPS, version, policy)
    kit.governance.rollouts.run(rollout.id, Event())
    assert kit.governance.lineage.track() == [rollout.id]


SPECS = os.environ.get("MAESTRO_TEST_SPECS")


@pytest.mark.skipif(SPECS is None, reason="MAESTRO_TEST_SPECS names no folder of published schemas")
@pytest.mark.shows("D10", "D15", env="laptop")
def test_events_validate_against_the_published_schema(deployed: tuple[Kit, ModelVersion]) -> None:
    from jsonschema import Draft202012Validator
    from referencing import Registry, Resource

    kit, version = deployed
    folder = Path(str(SPECS)) / "openlineage"
    core = json.loads((folder / "OpenLineage.json").read_text())
    facets = [json.loads(path.read_text()) for path in sorted((folder / "facets").glob("*.json"))]
    registry: Any = Registry().with_resources(
        [(document["$id"], Resource.from_contents(document)) for document in (core, *facets)]
    )
    validator = Draft202012Validator(core, registry=registry, format_checker=Draft202012Validator.FORMAT_CHECKER)
    standard = {name: document for document in facets for name in document["properties"]}
    documents = kit.governance.lineage.events(version.run_id)
    assert len(documents) == 6
    for document in documents:
        validator.validate(document)
        for owner in (document["run"], document["job"], *document["inputs"], *document["outputs"]):
            for name, body in {**owner.get("facets", {}), **owner.get("inputFacets", {})}.items():
                if name.startswith("maestro_"):
                    continue
                Draft202012Validator(standard[name], registry=registry).validate({name: body})
