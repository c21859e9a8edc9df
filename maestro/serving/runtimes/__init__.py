"""Runtimes by name: one implementation a file; which one a version needs is read from its files, without executing them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import yaml

from maestro.core.contract import ModelContract
from maestro.core.errors import BadInput
from maestro.security.quarantine import MANIFEST, read_manifest
from maestro.serving.runtimes._base import Answers, ModelFailed, ModelRuntime, ModelTimeout
from maestro.serving.runtimes.onnx import FILE as ONNX_FILE
from maestro.serving.runtimes.onnx import OnnxRuntime
from maestro.serving.runtimes.plan import PlanStore
from maestro.serving.runtimes.planned import PlannedRuntime
from maestro.serving.runtimes.pyfunc import MLMODEL, PyfuncRuntime

__all__ = [
    "KNOWN",
    "Answers",
    "ModelFailed",
    "ModelRuntime",
    "ModelTimeout",
    "RuntimeFactory",
    "Runtimes",
    "detect",
    "has_original",
    "runtime_for",
]

KNOWN = ("onnx", "pyfunc")


class RuntimeFactory(Protocol):
    """Makes runtimes."""

    def make(self, kind: str, folder: Path, contract: ModelContract) -> ModelRuntime:
        """A runtime that has not loaded yet."""
        ...


class Runtimes:
    """The runtimes of this server.

    Args:
        private: what a model's own process must not be able to read; it refuses to run when it can.
        plans: where plans lie; without it no fast path is sought.
    """

    def __init__(self, private: Sequence[Path] = (), plans: Path | None = None) -> None:
        self._private = private
        self._plans = None if plans is None else PlanStore(plans)

    def make(self, kind: str, folder: Path, contract: ModelContract) -> ModelRuntime:
        """A runtime that has not loaded yet: by the version's plan where its original is one of a library, else the one called `kind`."""
        if self._plans is not None and has_original(folder) and (folder.parent / MANIFEST).is_file():
            digest = read_manifest(folder.parent).content_digest()
            return PlannedRuntime(folder, contract, digest=digest, store=self._plans, private=self._private)
        return runtime_for(kind, folder, contract, self._private)


def runtime_for(kind: str, folder: Path, contract: ModelContract, private: Sequence[Path] = ()) -> ModelRuntime:
    """The runtime called `kind`.

    Raises:
        BadInput: there is none of that name; lists the known ones.
    """
    match kind:
        case "onnx":
            return OnnxRuntime(folder, contract)
        case "pyfunc":
            return PyfuncRuntime(folder, contract, private)
        case _:
            raise BadInput(f"unknown runtime {kind!r}", field="runtime", remedy=f"use one of: {', '.join(KNOWN)}")


def has_original(folder: Path) -> bool:
    """Whether the files hold a model of a library other than ONNX, which an ONNX file beside it may or may not answer like."""
    try:
        document = yaml.safe_load((folder / MLMODEL).read_bytes())
    except (OSError, yaml.YAMLError, RecursionError):
        return False
    flavors = document.get("flavors") if isinstance(document, dict) else None
    return isinstance(flavors, dict) and "onnx" not in flavors


def detect(folder: Path) -> str:
    """Which runtime a version's files need: ONNX when they hold `model.onnx`, else pyfunc when they are an MLflow model.

    Raises:
        BadInput: neither.
    """
    if (folder / ONNX_FILE).is_file():
        return "onnx"
    if (folder / MLMODEL).is_file():
        return "pyfunc"
    raise BadInput(
        f"the version's files hold neither {ONNX_FILE} nor {MLMODEL}",
        field="files",
        remedy=f"register an MLflow model or an ONNX file (known runtimes: {', '.join(KNOWN)})",
    )
