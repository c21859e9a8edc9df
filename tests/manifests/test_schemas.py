"""Every object is valid for three minor versions of Kubernetes; objects of our own CRDs by their schemas."""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from tests.manifests.objects import Body, Manifest, manifests, of_kind
from tests.manifests.overlays import COMPONENTS, FOLDERS, built, with_component
from tests.manifests.versions import versions

kubernetes_validate = pytest.importorskip("kubernetes_validate", reason="kubernetes-validate is not installed")
SCHEMAS = Path(kubernetes_validate.__file__).parent / "kubernetes-json-schema"

FOREIGN = tuple(entry["group"] for entry in versions()["apis"])
MINORS: list[str] = versions()["kubernetes"]["schemas"]
SINCE: dict[str, str] = versions()["kubernetes"]["since"]


def folder(minor: str) -> Path:
    """The strict schemas of a minor version."""
    (found,) = SCHEMAS.glob(f"v{minor}*-local-strict")
    return found


@cache
def definitions(minor: str) -> Any:
    """What the schemas of one minor version share. The package reads it anew for each object, which takes the most time by far."""
    from referencing import Registry, Resource

    contents = json.loads((folder(minor) / "_definitions.json").read_text())
    return Resource.from_contents(contents) @ Registry()


@cache
def validator(minor: str, name: str) -> Any:
    """The validator of one kind."""
    path = folder(minor) / name
    assert path.exists(), f"Kubernetes {minor} has no {name}"
    return jsonschema.Draft202012Validator(json.loads(path.read_text()), registry=definitions(minor))


def wrong(body: Body, minor: str) -> str | None:
    """What is wrong with an object of Kubernetes itself; None when nothing is."""
    api_version = re.sub(r"^([^./]*)(?:\.[^/]*)?/", r"\1-", str(body["apiVersion"]))
    problem = jsonschema.exceptions.best_match(
        validator(minor, f"{body['kind'].lower()}-{api_version}.json").iter_errors(body)
    )
    if problem is None:
        return None
    return f"{body['kind']} {body['metadata']['name']}: {problem.message} at {'.'.join(map(str, problem.path))}"


def ours(body: Body, minor: str = MINORS[-1]) -> bool:
    """Whether Kubernetes itself defines the kind, in this minor version."""
    return not str(body["apiVersion"]).startswith(FOREIGN) and _number(SINCE.get(body["kind"], minor)) <= _number(minor)


def _number(minor: str) -> int:
    return int(minor.split(".")[1])


def unique(bodies: list[Body]) -> list[Body]:
    """Without the objects that stand in several overlays alike."""
    return list({repr(body): body for body in bodies}.values())


@pytest.mark.parametrize("minor", MINORS)
def test_every_object_is_valid(minor: str) -> None:
    # a definition is large: one version is enough, the real API server sees it too
    found = [one.body for one in manifests() if ours(one.body, minor)]
    found = [body for body in found if body["kind"] != "CustomResourceDefinition" or minor == MINORS[-1]]
    assert len(found) > 50
    assert [problem for body in found if (problem := wrong(body, minor))] == []


@pytest.mark.parametrize("minor", [MINORS[0], MINORS[-1]])
def test_every_object_of_every_overlay_is_valid(minor: str) -> None:
    plain = {repr(one.body) for one in manifests()}
    bodies = [body for folder in FOLDERS for body in built(folder)]
    bodies += [body for name in COMPONENTS for body in with_component(name)]
    changed = [
        body
        for body in unique(bodies)
        if ours(body, minor) and repr(body) not in plain and body["kind"] != "CustomResourceDefinition"
    ]
    assert [problem for body in changed if (problem := wrong(body, minor))] == []


def test_what_is_younger_than_the_minimum_stands_in_optional_parts_alone() -> None:
    young = [one for one in manifests() if one.kind in SINCE]
    assert young
    assert all(one.path.parts[:2] == ("infrastructure", "components") for one in young)


def test_an_unknown_field_is_found() -> None:
    (body,) = [one.body for one in of_kind("Deployment") if one.name == "mlflow"]
    assert "replicsa" in str(wrong(body | {"spec": body["spec"] | {"replicsa": 2}}, MINORS[0]))


def schema_of(manifest: Manifest) -> dict[str, Any]:
    (definition,) = [
        one for one in of_kind("CustomResourceDefinition") if one.body["spec"]["names"]["kind"] == manifest.kind
    ]
    schema: dict[str, Any] = definition.body["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    return schema


def strict(schema: Any) -> Any:
    """A structural schema as JSON Schema that refuses unknown fields, as the API server does with strict validation."""
    if not isinstance(schema, dict):
        return schema
    made = {name: strict(value) for name, value in schema.items() if not name.startswith("x-") and name != "format"}
    for name in ("properties",):
        if name in schema:
            made[name] = {key: strict(value) for key, value in schema[name].items()}
            if not schema.get("x-kubernetes-preserve-unknown-fields") and schema["properties"]:
                made["additionalProperties"] = False
    for name in ("anyOf",):
        if name in schema:
            made[name] = [strict(value) for value in schema[name]]
    return made


JOBS = [one for one in manifests() if one.body["apiVersion"] == "kubeflow.org/v1"]


@pytest.mark.parametrize("job", JOBS, ids=str)
def test_a_job_keeps_the_schema_of_its_kind(job: Manifest) -> None:
    jsonschema.validate(job.body | {"metadata": {}}, strict(schema_of(job)))


def test_the_definitions_share_what_they_share() -> None:
    """Six kinds, one shape of run policy, status and replica."""
    definitions = of_kind("CustomResourceDefinition")
    assert {one.body["spec"]["names"]["kind"] for one in definitions} == {
        "TFJob", "PyTorchJob", "XGBoostJob", "PaddleJob", "MPIJob", "JAXJob"
    }  # fmt: skip
    policies, states = set(), set()
    for one in definitions:
        (version,) = one.body["spec"]["versions"]
        assert version["subresources"]["status"] == {}
        assert {column["name"] for column in version["additionalPrinterColumns"]} >= {"State", "Age"}
        schema = version["schema"]["openAPIV3Schema"]["properties"]
        policies.add(repr(schema["spec"]["properties"]["runPolicy"]))
        states.add(repr(schema["status"]))
        (replicas,) = [name for name in schema["spec"]["properties"] if re.search(r"ReplicaSpecs$", name)]
        for replica in schema["spec"]["properties"][replicas]["properties"].values():
            assert replica["properties"]["template"]["x-kubernetes-preserve-unknown-fields"] is True
    assert len(policies) == len(states) == 1
