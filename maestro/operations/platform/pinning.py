"""Fill the digests of infrastructure/versions.yaml: from the registry, or from the local build of our own images. None is ever invented."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from maestro.clients.home import write_private
from maestro.clients.oci_registry import local_digest, remote_digest
from maestro.core.errors import MaestroError, Malformed, NotFound
from maestro.operations.platform.layout import Image, Layout


@dataclass(frozen=True)
class Pinned:
    """One image: its digest, or why there is none."""

    image: str
    digest: str | None
    before: str | None
    why: str = ""


def resolve(image: Image) -> str:
    """The digest of an image.

    Raises:
        Unreachable: the registry does not answer.
        NotFound: nobody has the image.
    """
    if image.built is None or not image.name.startswith("localhost/"):
        return remote_digest(image.name, image.tag)
    digest = local_digest(image.reference)
    if digest is None:
        raise NotFound(
            f"{image.reference} was not built here, or its engine knows no digest of it",
            remedy=f"build it from {image.built}/Dockerfile, push it to a registry of yours and name that in versions.yaml",
        )
    return digest


def pin_versions(
    layout: Layout, *, only: Sequence[str] = (), resolver: Callable[[Image], str] = resolve,
    told: Callable[[Pinned], None] = lambda _: None,
) -> list[Pinned]:  # fmt: skip
    """Write the digests that could be resolved; an image that could not keeps what it had.

    Args:
        layout: the checkout.
        only: names or parts of names; all when empty.
        resolver: finds a digest.
        told: called after each image.

    Raises:
        NotFound: `only` names no image.
    """
    images = [image for image in layout.images() if not only or any(part in image.name for part in only)]
    if not images:
        raise NotFound(
            f"versions.yaml has no image {', '.join(only)}", remedy="name one that it lists, or a part of it"
        )
    text, results = layout.versions_file.read_text(), []
    for image in images:
        try:
            digest: str | None = resolver(image)
            why = ""
        except MaestroError as error:
            digest, why = None, error.detail
        if digest is not None:
            text = with_digest(text, image.name, digest)
        results.append(Pinned(image.reference, digest or image.digest, image.digest, why))
        told(results[-1])
    if text != layout.versions_file.read_text():
        mode = layout.versions_file.stat().st_mode
        write_private(layout.versions_file, text)
        layout.versions_file.chmod(mode)
    return results


def with_digest(text: str, name: str, digest: str) -> str:
    """The file with another digest for one image; everything else, comments included, stays.

    >>> with_digest("- {name: a/b, tag: x, digest: null}", "a/b", "sha256:00")
    '- {name: a/b, tag: x, digest: sha256:00}'
    """
    pattern = re.compile(rf"(name: {re.escape(name)}(?=[,\s])(?:(?!name: )[\s\S])*?digest: )(null|sha256:[0-9a-f]+)")
    changed, count = pattern.subn(lambda match: match[1] + digest, text, count=1)
    if count != 1:
        raise Malformed(f"versions.yaml: {name} has no line for its digest", remedy="add `digest: null` to it")
    return changed
