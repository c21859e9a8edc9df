"""infrastructure/versions.yaml is the source of truth of images and APIs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.manifests.objects import ROOT, all_pods, manifests, of_kind, yaml_files
from tests.manifests.versions import image_problem, split_image, versions

DOCKERFILES = sorted((ROOT / "infrastructure/images").glob("*/Dockerfile"))
BUILT_IN = re.compile(r"^(apps|batch|autoscaling|policy|[a-z.]+\.k8s\.io)$")


def test_names_are_full_and_tags_are_fixed() -> None:
    for entry in versions()["images"]:
        registry = entry["name"].split("/")[0]
        assert "." in registry or registry == "localhost", f"{entry['name']}: name it in full, with its registry"
        assert entry["tag"] not in {"", "latest"}
        assert "digest" in entry
        assert entry["digest"] is None or re.fullmatch(r"sha256:[0-9a-f]{64}", entry["digest"])


def test_of_every_foreign_tag_it_is_said_what_says_that_it_is_there() -> None:
    unsaid = [
        entry["name"] for entry in versions()["images"] if "built" not in entry and len(entry.get("seen", "")) < 10
    ]
    assert unsaid == []


def test_no_image_stands_twice_and_each_is_used() -> None:
    names = [entry["name"] for entry in versions()["images"]]
    assert len(set(names)) == len(names)
    texts = "\n".join((ROOT / path).read_text() for path in yaml_files() if path.name != "versions.yaml")
    texts += "\n".join(path.read_text() for path in DOCKERFILES)
    assert [name for name in names if name not in texts and name.removeprefix("docker.io/library/") not in texts] == []


@pytest.mark.parametrize("part", sorted(versions()["unmaintained"]))
def test_no_unmaintained_image(part: str) -> None:
    images = {one["image"] for pod in all_pods() for _, one in pod.containers()}
    images |= {entry["name"] for entry in versions()["images"]}
    assert [image for image in images if part in image] == []


def test_no_retired_api() -> None:
    retired = versions()["retired"]
    assert [str(one) for one in manifests() if one.body["apiVersion"] in retired or one.kind in retired] == []


def test_every_api_is_kubernetes_own_or_listed() -> None:
    listed = {(entry["group"], entry["version"]) for entry in versions()["apis"]}
    for one in manifests():
        group, _, version = str(one.body["apiVersion"]).rpartition("/")
        if group and not (BUILT_IN.match(group) and (group, version) not in listed and not _needs_crd(group)):
            assert (group, version) in listed, f"{one}: {group}/{version} is not in infrastructure/versions.yaml"


def _needs_crd(group: str) -> bool:
    return group.endswith((".x-k8s.io", "gateway.networking.k8s.io", "kubeflow.org", "istio.io", "ray.io"))


def test_our_own_crds_are_those_that_are_listed() -> None:
    listed = {entry["group"] for entry in versions()["apis"] if str(entry["crds"]).endswith(".yaml")}
    assert {one.body["spec"]["group"] for one in of_kind("CustomResourceDefinition")} == listed


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda path: path.parent.name)
def test_a_dockerfile_starts_from_listed_images(dockerfile: Path) -> None:
    text = dockerfile.read_text()
    stages = {found.lower() for found in re.findall(r"(?im)^FROM\s+\S+\s+AS\s+(\S+)", text)}
    for image in re.findall(r"(?im)^FROM\s+(\S+)", text):
        if image.lower() not in stages:
            name, _ = split_image(image)
            full = image if "." in name.split("/")[0] or name.startswith("localhost") else f"docker.io/library/{image}"
            assert image_problem(full) is None


def test_every_image_of_ours_has_its_dockerfile() -> None:
    built = {entry["built"] for entry in versions()["images"] if "built" in entry}
    assert built == {path.parent.relative_to(ROOT).as_posix() for path in DOCKERFILES}


@pytest.mark.parametrize(
    ("image", "problem"),
    [
        ("docker.io/library/redis:latest", "latest"),
        ("docker.io/library/redis", "no tag"),
        ("docker.io/library/redis:1", "says"),
        ("docker.io/library/nowhere:1", "not in"),
        ("docker.io/library/redis@sha256:0", "digests"),
    ],
)
def test_what_is_wrong_with_an_image_is_said(image: str, problem: str) -> None:
    assert problem in str(image_problem(image))
