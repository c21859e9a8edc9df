"""Where the manifests are: the checkout's `infrastructure/`, its versions, its secrets and its profiles."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from maestro.core.errors import BadInput, Malformed, NotFound

PROFILES = {"minikube": "infrastructure/minikube", "production": "infrastructure/kubernetes"}
"""Name to folder. A folder of your own overlay is given by its path."""


@dataclass(frozen=True)
class Image:
    """One image of versions.yaml."""

    name: str
    tag: str
    digest: str | None
    built: str | None

    @property
    def reference(self) -> str:
        """Name and tag."""
        return f"{self.name}:{self.tag}"


@dataclass(frozen=True)
class Layout:
    """A checkout."""

    root: Path

    @classmethod
    def find(cls, root: Path | None = None) -> Layout:
        """The checkout at `root`, or the one around the working directory.

        Raises:
            NotFound: there is none.
        """
        start = (root or Path.cwd()).resolve()
        for folder in (start, *start.parents):
            if (folder / "infrastructure" / "versions.yaml").exists():
                return cls(folder)
        raise NotFound(
            f"{start} is no checkout of the platform: infrastructure/versions.yaml is not there",
            remedy="run the command in the checkout, or name it with --root",
        )

    @property
    def versions_file(self) -> Path:
        """The one list of images and APIs."""
        return self.root / "infrastructure" / "versions.yaml"

    def versions(self) -> dict[str, Any]:
        """Its content."""
        return _read(self.versions_file)

    def images(self) -> tuple[Image, ...]:
        """Every image, in the order of the file."""
        return tuple(
            Image(entry["name"], str(entry["tag"]), entry.get("digest"), entry.get("built"))
            for entry in self.versions().get("images", [])
        )

    def secrets(self) -> dict[str, Any]:
        """What infrastructure/secrets.yaml lists."""
        return _read(self.root / "infrastructure" / "secrets.yaml")

    def folder(self, profile: str) -> Path:
        """The folder of a profile, or of an overlay named by its path.

        Raises:
            BadInput: neither.
        """
        if profile in PROFILES:
            return self.root / PROFILES[profile]
        for candidate in (Path(profile), self.root / profile):
            if (candidate / "kustomization.yaml").exists() or (
                candidate.suffix in {".yaml", ".yml"} and candidate.is_file()
            ):
                return candidate
        raise BadInput(
            f"there is no profile and no overlay {profile!r}",
            field="profile",
            remedy=f"known profiles: {', '.join(PROFILES)}; or the folder of an overlay of yours",
        )


def _read(path: Path) -> dict[str, Any]:
    try:
        loaded = yaml.safe_load(path.read_text())
    except OSError as error:
        raise NotFound(f"{path}: {error.strerror}", remedy="restore it from the repository") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark is not None else ""
        raise Malformed(f"{path} is not YAML{line}", field=str(path), remedy="correct the file") from None
    if not isinstance(loaded, dict):
        raise Malformed(f"{path} is no mapping", field=str(path), remedy="restore it from the repository")
    return loaded
