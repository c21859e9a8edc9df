"""Every overlay of the repository, built by `kubectl kustomize`; components each on top of production."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.manifests.objects import ROOT, Body, kustomizations

COMPONENTS = sorted(path.parent.name for path in kustomizations() if path.parts[:2] == ("infrastructure", "components"))
FOLDERS = sorted(
    path.parent.as_posix() for path in kustomizations() if path.parts[:2] != ("infrastructure", "components")
)


@cache
def built(folder: str) -> tuple[Body, ...]:
    """The objects of a folder with a kustomization."""
    return _build(ROOT / folder)


@cache
def with_component(name: str) -> tuple[Body, ...]:
    """Production with one component."""
    # kustomize takes relative paths alone, so the overlay stands in a sibling of the folders that it names
    with tempfile.TemporaryDirectory(dir=ROOT / "infrastructure", prefix=".overlay-") as folder:
        overlay: dict[str, Any] = {"resources": ["../kubernetes"], "components": [f"../components/{name}"]}
        (Path(folder) / "kustomization.yaml").write_text(yaml.safe_dump(overlay))
        return _build(Path(folder))


def _build(folder: Path) -> tuple[Body, ...]:
    if shutil.which("kubectl") is None:
        pytest.skip("no kubectl: overlays were not built")
    done = subprocess.run(
        ["kubectl", "kustomize", str(folder)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return tuple(body for body in yaml.load_all(done.stdout, Loader=yaml.CSafeLoader) if body)
