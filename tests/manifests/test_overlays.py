"""Every overlay builds, holds what its files hold, and the small one stays within its sums."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from maestro.operations.platform.examination import requested
from maestro.operations.platform.objects import containers, key, pod_specs
from maestro.operations.platform.quantities import quantity
from tests.manifests.objects import ROOT, Body, kustomizations, read
from tests.manifests.overlays import COMPONENTS, FOLDERS, built, with_component

pytestmark = pytest.mark.door  # kubectl builds each of them

JOBS = {"TFJob", "PyTorchJob", "XGBoostJob", "PaddleJob", "MPIJob", "JAXJob", "TrainJob", "Job"}


def at(bodies: tuple[Body, ...], kind: str, name: str) -> Body:
    (found,) = [body for body in bodies if body["kind"] == kind and body["metadata"]["name"] == name]
    return found


@pytest.mark.parametrize("folder", FOLDERS)
def test_an_overlay_builds_and_names_nothing_twice(folder: str) -> None:
    bodies = built(folder)
    assert bodies
    assert len({key(body) for body in bodies}) == len(bodies)


@pytest.mark.parametrize("name", COMPONENTS)
def test_production_builds_with_each_optional_part(name: str) -> None:
    assert with_component(name) != built("infrastructure/kubernetes")


@pytest.mark.shows("N1", env="cluster")
def test_without_optional_parts_nothing_optional_is_needed() -> None:
    versions = yaml.safe_load((ROOT / "infrastructure/versions.yaml").read_text())
    optional = {f"{entry['group']}/{entry['version']}" for entry in versions["apis"] if "optional" in entry}
    for folder in ("infrastructure/kubernetes", "infrastructure/minikube"):
        assert [key(body) for body in built(folder) if body["apiVersion"] in optional] == []


def test_every_file_is_in_an_overlay_or_stands_alone_on_purpose() -> None:
    alone = {"templates"}  # a template is applied by itself, with the name of its job
    listed = {
        (path.parent / name).as_posix()
        for path in kustomizations()
        for name in yaml.safe_load((ROOT / path).read_text()).get("resources", [])
    }
    listed = {Path(name).as_posix() for name in listed}
    for folder in ("infrastructure/kubernetes", "training/examples", "security/rbac", "security/istio"):
        files = {path.relative_to(ROOT).as_posix() for path in (ROOT / folder).glob("*.yaml")}
        holding = {name for name in files if not name.endswith("kustomization.yaml") and read(Path(name))}
        assert holding - listed == set() or folder in alone


def test_the_small_overlay_changes_sizes_and_nothing_else() -> None:
    large = {key(body): body for body in built("infrastructure/kubernetes")}
    small = {key(body): body for body in built("infrastructure/minikube")}
    assert small.keys() == large.keys()
    for name, body in small.items():
        assert [(box["name"], box["image"]) for box in containers(body)] == [
            (box["name"], box["image"]) for box in containers(large[name])
        ]


@pytest.mark.shows("L11", env="cluster")
def test_the_small_platform_requests_at_most_its_share_of_a_small_node() -> None:
    bodies = built("infrastructure/minikube")
    assert sum(requested(body, "cpu") for body in bodies) <= 1.2
    assert sum(requested(body, "memory") for body in bodies) <= 5 * 2**30


@pytest.mark.shows("L11", env="cluster")
def test_the_platform_with_three_jobs_stays_within_its_footprint() -> None:
    bodies = built("infrastructure/kubernetes")
    assert sum(requested(body, "cpu") for body in bodies) + 3 * 4 <= 16 + 12
    assert sum(requested(body, "cpu") for body in bodies) <= 16
    assert sum(requested(body, "memory") for body in bodies) <= 32 * 2**30
    claims = [body["spec"] for body in bodies if body["kind"] == "PersistentVolumeClaim"]
    claims += [
        claim["spec"]
        for body in bodies
        if body["kind"] == "StatefulSet"
        for claim in body["spec"].get("volumeClaimTemplates", [])
    ]
    assert sum(quantity(claim["resources"]["requests"]["storage"]) for claim in claims) <= 150 * 2**30


@pytest.mark.shows("B6", "B7", env="cluster")
def test_the_quotas_are_the_promised_ones() -> None:
    hard = at(built("infrastructure/kubernetes"), "ResourceQuota", "training-quota")["spec"]["hard"]
    assert (hard["limits.cpu"], hard["limits.memory"]) == ("12", "24Gi")
    hard = at(built("infrastructure/minikube"), "ResourceQuota", "training-quota")["spec"]["hard"]
    assert (hard["limits.cpu"], hard["limits.memory"]) == ("2", "3Gi")


@pytest.mark.parametrize(
    ("folder", "cpu", "memory"), [("training/examples", 4, 8), ("infrastructure/minikube/examples", 2, 3)]
)
def test_a_job_stays_within_its_limit(folder: str, cpu: float, memory: float) -> None:
    jobs = [body for body in built(folder) if body["kind"] in JOBS]
    assert len(jobs) >= 2
    for job in jobs:
        replicas = next(value for name, value in job["spec"].items() if name.endswith("ReplicaSpecs"))
        boxes = [
            box["resources"]["limits"]
            for one in replicas.values()
            for box in one["template"]["spec"]["containers"]
            for _ in range(one["replicas"])
        ]
        assert sum(quantity(box["cpu"]) for box in boxes) <= cpu
        assert sum(quantity(box["memory"]) for box in boxes) <= memory * 2**30


@pytest.mark.shows("B1", env="cluster")
def test_a_small_example_requests_little() -> None:
    for job in built("infrastructure/minikube/examples"):
        for spec in pod_specs(job):
            assert sum(quantity(box["resources"]["requests"]["cpu"]) for box in spec["containers"]) <= 0.25


def test_mlflow_answers_on_the_promised_port_of_the_node() -> None:
    (port,) = at(built("infrastructure/minikube"), "Service", "mlflow")["spec"]["ports"]
    assert (port["port"], port["nodePort"]) == (5000, 30500)


@pytest.mark.shows("D2", env="cluster")
def test_mlflow_has_the_promised_resources() -> None:
    (box,) = at(built("infrastructure/kubernetes"), "Deployment", "mlflow")["spec"]["template"]["spec"]["containers"]
    assert (box["resources"]["requests"]["memory"], box["resources"]["limits"]["memory"]) == ("1Gi", "2Gi")


@pytest.mark.shows("D7", env="cluster")
@pytest.mark.parametrize(("name", "gone"), [("external-postgresql", "postgresql"), ("external-s3", "object-store")])
def test_bring_your_own_leaves_ours_out(name: str, gone: str) -> None:
    bodies = with_component(name)
    assert [key(body) for body in bodies if body["kind"] == "StatefulSet" and body["metadata"]["name"] == gone] == []
    text = (ROOT / "infrastructure/components" / name / "kustomization.yaml").read_text()
    assert len(text.splitlines()) < 20
