"""The version manifest: plain paths only, and a digest that covers everything."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from maestro.core.manifest import FileEntry, VersionManifest

DIGEST = "sha256:" + "1" * 64


def manifest(*paths: str) -> VersionManifest:
    files = tuple(FileEntry(path=path, size=1, digest=DIGEST) for path in paths)
    return VersionManifest(model="m", version="1.0.0", run_id="r", files=files)


@pytest.mark.parametrize("path", ["/etc/passwd", "../x", "a/../../x", "a//b", "./a", "a/.", "a\\b", "a\0b", "a/"])
def test_a_path_that_could_leave_the_folder_is_refused(path: str) -> None:
    with pytest.raises(ValidationError, match="not a plain relative path"):
        manifest(path)


def test_a_path_stands_once() -> None:
    with pytest.raises(ValidationError, match="stands twice"):
        manifest("a/b", "a/b")


def test_the_digest_covers_model_version_run_and_every_file() -> None:
    first = manifest("a", "b")
    changes = [
        first.model_copy(update={"model": "n"}),
        first.model_copy(update={"version": "1.0.1"}),
        first.model_copy(update={"run_id": "s"}),
        first.model_copy(update={"files": first.files[:1]}),
        first.model_copy(
            update={"files": (first.files[0], first.files[1].model_copy(update={"digest": "sha256:" + "2" * 64}))}
        ),
    ]
    assert len({first.content_digest(), *(change.content_digest() for change in changes)}) == 6
