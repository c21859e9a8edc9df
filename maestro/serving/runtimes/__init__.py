"""Runtimes by name: one implementation a file; which one a version needs is read from its files, without executing them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from maestro.core.contract import ModelContract
from maestro.core.errors import BadInput
from maestro.serving.runtimes._base import Answers, ModelFailed, ModelRuntime, ModelTimeout
from maestro.serving.runtimes.onnx import FILE as ONNX_FILE
from maestro.serving.runtimes.onnx import OnnxRuntime
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
    """

    def __init__(self, private: Sequence[Path] = ()) -> None:
        self._private = private

    def make(self, kind: str, folder: Path, contract: ModelContract) -> ModelRuntime:
        """A runtime that has not loaded yet."""
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
