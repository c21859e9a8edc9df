"""Files become the objects that are applied: in order, ours, pinned where the digest is known."""

from __future__ import annotations

import pytest

from maestro.core.errors import BadInput, Malformed, NotFound, Refused
from maestro.operations.platform.layout import Layout
from maestro.operations.platform.objects import containers
from maestro.operations.platform.pinning import Pinned, pin_versions
from maestro.operations.platform.rendering import OWNER, OWNER_LABEL, render

DIGEST = "sha256:" + "a" * 64
APP = "infrastructure/app.yaml"


def test_namespaces_come_first_and_everything_is_ours(layout: Layout) -> None:
    bodies = render(layout, APP)
    assert [body["kind"] for body in bodies] == ["Namespace", "Deployment"]
    assert {body["metadata"]["labels"][OWNER_LABEL] for body in bodies} == {OWNER}


def test_a_digest_is_filled_and_added_and_the_rest_of_the_file_stays(layout: Layout) -> None:
    before = layout.versions_file.read_text()
    told: list[Pinned] = []
    results = pin_versions(layout, resolver=lambda image: DIGEST, told=told.append)
    assert [one.digest for one in results] == [DIGEST, DIGEST] == [one.digest for one in told]
    assert layout.versions_file.read_text().replace(DIGEST, "null") == before
    images = [box["image"] for body in render(layout, APP, require_digests=True) for box in containers(body)]
    assert set(images) == {f"localhost/ours/app:1@{DIGEST}", f"registry.example/upstream/app:v2@{DIGEST}"}


def test_what_cannot_be_resolved_keeps_what_it_had(layout: Layout) -> None:
    def only_ours(image: object) -> str:
        if "localhost" not in str(image):
            raise NotFound("the registry has none")
        return DIGEST

    ours, upstream = pin_versions(layout, resolver=only_ours)
    assert (ours.digest, upstream.digest, upstream.why) == (DIGEST, None, "the registry has none")
    with pytest.raises(Refused, match=r"registry\.example/upstream/app:v2") as refused:
        render(layout, APP, require_digests=True)
    assert "maestro platform pin" in refused.value.remedy


def test_an_image_that_is_not_listed_cannot_be_pinned(layout: Layout) -> None:
    with pytest.raises(NotFound, match="nothing-of-this"):
        pin_versions(layout, only=["nothing-of-this"])


def test_bad_files_are_named(layout: Layout) -> None:
    with pytest.raises(BadInput, match="no-such") as unknown:
        render(layout, "no-such")
    assert "minikube, production" in unknown.value.remedy
    path = layout.root / APP
    path.write_text(path.read_text() + "---\napiVersion: v1\nkind: Namespace\nmetadata: {name: ml-platform}\n")
    with pytest.raises(Malformed, match="stands twice"):
        render(layout, APP)
    path.write_text("a: [")
    with pytest.raises(Malformed, match="line"):
        render(layout, APP)
    path.write_text("apiVersion: v1\nkind: ConfigMap\n")
    with pytest.raises(Malformed, match="without kind or name"):
        render(layout, APP)


def test_outside_a_checkout_the_remedy_is_told(layout: Layout) -> None:
    assert Layout.find(layout.root / "infrastructure").root == layout.root
    with pytest.raises(NotFound, match="no checkout") as missing:
        Layout.find(layout.root.parent)
    assert "--root" in missing.value.remedy
    layout.versions_file.write_text("a: [")
    with pytest.raises(Malformed, match="not YAML"):
        layout.versions()
