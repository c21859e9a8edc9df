"""`infrastructure/versions.yaml` as the tests read it."""

from __future__ import annotations

from functools import cache
from typing import Any

import yaml

from tests.manifests.objects import ROOT


@cache
def versions() -> dict[str, Any]:
    """The one list of image tags and API versions."""
    loaded: dict[str, Any] = yaml.safe_load((ROOT / "infrastructure/versions.yaml").read_text())
    return loaded


@cache
def tags() -> dict[str, str]:
    """Image name to tag."""
    return {entry["name"]: str(entry["tag"]) for entry in versions()["images"]}


def split_image(image: str) -> tuple[str, str]:
    """Name and tag; a digest stays with neither.

    >>> split_image("docker.io/library/redis:8.2.2@sha256:00")
    ('docker.io/library/redis', '8.2.2')
    """
    name, _, tag = image.partition("@")[0].rpartition(":")
    return (name, tag) if name and "/" not in tag else (image, "")


def image_problem(image: str) -> str | None:
    """What is wrong with an image of a manifest; None when nothing is."""
    name, tag = split_image(image)
    if "@" in image:
        return f"{image}: digests stand in versions.yaml alone; `maestro platform apply` adds them"
    if tag in {"", "latest"}:
        return f"{image}: has no tag or `latest`"
    if name not in tags():
        return f"{name} is not in infrastructure/versions.yaml"
    if tags()[name] != tag:
        return f"{name}:{tag}, but infrastructure/versions.yaml says {tags()[name]}"
    return None


def version_label(image: str) -> str:
    """The label that an image becomes: its version where the list has one, else its tag without a leading v.

    >>> version_label("docker.io/prom/prometheus:v3.7.3")
    '3.7.3'
    """
    name, tag = split_image(image)
    listed = {entry["name"]: str(entry["version"]) for entry in versions()["images"] if "version" in entry}
    return listed.get(name, tag.removeprefix("v"))
