"""From files to the objects that are applied: an overlay built, images pinned by digest, every object marked as ours."""

from __future__ import annotations

from collections.abc import Sequence

from maestro.clients.kubernetes.kustomize import build
from maestro.core.errors import Malformed, Refused
from maestro.operations.platform.layout import Image, Layout
from maestro.operations.platform.objects import STAGES, Body, containers, key, stage

OWNER_LABEL = "app.kubernetes.io/managed-by"
OWNER = "maestro-platform"


def render(layout: Layout, profile: str, *, require_digests: bool | None = None) -> list[Body]:
    """The objects of a profile in the order in which they are applied.

    Args:
        layout: the checkout.
        profile: `minikube`, `production`, or the folder of an overlay.
        require_digests: refuse images without digest; by default for `production` alone.

    Raises:
        Refused: an image has no digest and one is required.
        Malformed: an object has no name or kind, or stands twice.
    """
    bodies = build(layout.folder(profile))
    seen: set[str] = set()
    for body in bodies:
        if not body.get("kind") or not (body.get("metadata") or {}).get("name"):
            raise Malformed(
                f"{profile}: an object without kind or name", remedy="correct the manifest", field="metadata.name"
            )
        if key(body) in seen:
            raise Malformed(f"{profile}: {key(body)} stands twice", remedy="remove one of the two")
        seen.add(key(body))
    required = profile == "production" if require_digests is None else require_digests
    missing = pin(bodies, layout.images())
    if required and missing:
        raise Refused(
            f"{len(missing)} images have no digest: {', '.join(missing)}",
            remedy="run `maestro platform pin` where the registry can be reached, or push and pin your own builds",
            images=missing,
        )
    for body in bodies:
        body["metadata"].setdefault("labels", {})[OWNER_LABEL] = OWNER
    return sorted(bodies, key=lambda body: STAGES.index(stage(body)))


def pin(bodies: Sequence[Body], images: Sequence[Image]) -> list[str]:
    """Add the known digests to the images of all containers; returns the references that have none."""
    known = {image.reference: image.digest for image in images}
    missing = set()
    for body in bodies:
        for container in containers(body):
            reference = str(container.get("image", ""))
            if "@" in reference or not reference:
                continue
            digest = known.get(reference)
            if digest is None:
                missing.add(reference)
            else:
                container["image"] = f"{reference}@{digest}"
    return sorted(missing)
