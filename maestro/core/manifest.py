"""The version manifest: every file of a version with its digest. Its own digest is the version's identity."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from maestro.core.model import Digest, Model, Name


class FileEntry(Model):
    """One file: POSIX path below the version's folder, size in bytes, digest of its bytes."""

    path: str = Field(min_length=1, max_length=1024)
    size: int = Field(ge=0)
    digest: Digest


class VersionManifest(Model):
    """What a version is made of. `content_digest()` of this document is the digest that graphs and statements pin."""

    schema_: Literal["maestro.manifest/1"] = Field(default="maestro.manifest/1", alias="schema")
    model: Name
    version: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.+-]{0,127}$", description="safe as a folder's name")
    run_id: str
    files: tuple[FileEntry, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _paths_are_plain(self) -> Self:
        seen: set[str] = set()
        for entry in self.files:
            parts = entry.path.split("/")
            if entry.path.startswith("/") or "\\" in entry.path or "\0" in entry.path or {"", ".", ".."} & set(parts):
                raise ValueError(f"path {entry.path!r} is not a plain relative path")
            if any(ord(character) < 32 or character == "\x7f" for character in entry.path):
                raise ValueError(f"path {entry.path!r} holds a control character")
            if entry.path in seen:
                raise ValueError(f"path {entry.path!r} stands twice")
            seen.add(entry.path)
        for path in seen:
            parents = path.split("/")[:-1]
            if any("/".join(parents[:depth]) in seen for depth in range(1, len(parents) + 1)):
                raise ValueError(f"path {path!r} lies below a path that is a file")
        return self
