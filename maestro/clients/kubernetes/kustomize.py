"""Overlays built by `kubectl kustomize`, the program that users apply them with."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import yaml

from maestro.core.errors import Malformed, NotFound, Unreachable


def build(folder: Path) -> list[dict[str, Any]]:
    """The objects of a folder with a kustomization, or of one YAML file.

    Raises:
        NotFound: there is no such folder.
        Malformed: a patch names an object that is not there, a file is no YAML, …
        Unreachable: there is no `kubectl`.
    """
    if folder.is_file():
        return _objects(folder.read_text(), str(folder))
    if not (folder / "kustomization.yaml").exists():
        raise NotFound(f"{folder} has no kustomization.yaml", remedy="name a folder such as infrastructure/minikube")
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        raise Unreachable("kubectl is not installed", remedy="install kubectl 1.31 or newer", component="kubectl")
    done = subprocess.run([kubectl, "kustomize", str(folder)], capture_output=True, text=True, timeout=120, check=False)
    if done.returncode:
        said = done.stderr.strip().splitlines()[-1:] or ["no message"]
        raise Malformed(
            f"{folder}: {said[0]}", field=str(folder), remedy="correct the kustomization or the patch it names"
        )
    return _objects(done.stdout, str(folder))


def _objects(text: str, where: str) -> list[dict[str, Any]]:
    try:
        bodies = list(yaml.load_all(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)))
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark is not None else ""
        raise Malformed(f"{where} is not YAML{line}", field=where, remedy="correct the file") from None
    return [body for body in bodies if body]
