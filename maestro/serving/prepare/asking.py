"""The process that holds the original model, asked from outside: confined, and believed in nothing but its answers to rows."""

from __future__ import annotations

import os
import select
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

import msgspec
import numpy as np

import maestro
from maestro.core.errors import BadInput, Unreachable
from maestro.security.sandbox import SandboxLimits, popen
from maestro.serving.runtimes.pyfunc import request_of
from maestro.serving.runtimes.pyfunc_worker import MAX_FRAME
from maestro.serving.table import Batch, Matrix

LOAD_S = 120.0
ASK_S = 120.0
_LAUNCH = "import sys; sys.path.insert(0, sys.argv[2]); from maestro.serving.prepare.original import main; sys.exit(main(sys.argv[1]))"


class CannotAnswer(Exception):
    """The original raised; the text is what it said."""


@dataclass(frozen=True)
class Description:
    """What the model says of itself: its class, its classes as text, its recorded example in the contract's order, values of text features."""

    kind: str
    classes: tuple[str, ...] | None
    example: list[list[Any]]
    texts: dict[str, list[str]]


@dataclass(frozen=True)
class OriginalAnswers:
    """One JSON value a row as MLflow's interface gives it, and the class scores (rows × classes) where the library gives them."""

    values: list[Any]
    scores: Matrix | None


class OriginalProcess:
    """One confined process; a context manager.

    Args:
        files: the version's private folder, an MLflow model.
        private: what it must not be able to read.
    """

    def __init__(self, files: Path, private: Sequence[Path]) -> None:
        package = Path(maestro.__file__).resolve().parent.parent
        self._process = popen(
            [sys.executable, "-I", "-c", _LAUNCH, str(files), str(package)],
            readable=[files],
            private=private,
            env={"OMP_NUM_THREADS": "1"},  # threads that wait for each other would be measured instead of the model
            limits=SandboxLimits(cpu_s=600),
            stderr=subprocess.DEVNULL,
        )
        try:
            self._receive(LOAD_S)
        except CannotAnswer as error:
            self._end()
            raise BadInput(
                f"the MLflow model cannot be loaded: {error}",
                field="MLmodel",
                remedy="install what the model requires where it is prepared, or log it again",
            ) from None
        except Unreachable:
            self._end()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def describe(self, names: Sequence[str]) -> Description:
        """What it says of itself."""
        told = self._ask({"op": "describe", "names": list(names)})
        classes = told.get("classes")
        return Description(
            kind=str(told.get("kind"))[:200],
            classes=None if classes is None else tuple(str(value) for value in classes),
            example=[list(row) for row in told.get("example") or []],
            texts={str(name): [str(value) for value in values] for name, values in (told.get("texts") or {}).items()},
        )

    def answer(self, batch: Batch) -> OriginalAnswers:
        """Its answers.

        Raises:
            CannotAnswer: it raised.
            Unreachable: it died, or answers nonsense.
        """
        told = self._ask({"op": "answer"} | request_of(batch))
        values, raw = told.get("values"), told.get("scores")
        if not isinstance(values, list) or len(values) != batch.size:
            raise CannotAnswer(f"it gave no answer for each of {batch.size} rows")
        scores = None
        if isinstance(raw, bytes):
            flat = np.frombuffer(raw, dtype="<f8")
            if len(flat) != batch.size * int(told.get("width", 0)):
                raise CannotAnswer("its scores are not a row for each row")
            scores = flat.reshape(batch.size, -1)
        return OriginalAnswers(values, scores)

    def time_us(self, batch: Batch) -> float:
        """The median of its microseconds for the batch."""
        return float(self._ask({"op": "time"} | request_of(batch))["us"])

    def forest(self, types: Sequence[str]) -> bytes:
        """Its trees, unchecked."""
        return _bytes(self._ask({"op": "forest", "types": list(types)}), "forest")

    def onnx(self, names: Sequence[str], types: Sequence[str], variant: str) -> bytes:
        """It as ONNX."""
        return _bytes(self._ask({"op": "onnx", "names": list(names), "types": list(types), "variant": variant}), "onnx")

    def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        data = msgspec.msgpack.encode(request)
        assert self._process.stdin is not None  # noqa: S101 - it was opened with a pipe
        try:
            self._process.stdin.write(len(data).to_bytes(4, "big") + data)
            self._process.stdin.flush()
        except (OSError, ValueError):
            raise _gone(self._process) from None
        return self._receive(ASK_S)

    def _receive(self, timeout_s: float) -> dict[str, Any]:
        assert self._process.stdout is not None  # noqa: S101 - it was opened with a pipe
        deadline = time.monotonic() + timeout_s
        size = int.from_bytes(self._read(self._process.stdout, 4, deadline), "big")
        if size > MAX_FRAME:
            raise Unreachable("the original model's process spoke nonsense", component="prepare")
        try:
            told = msgspec.msgpack.decode(self._read(self._process.stdout, size, deadline), type=dict[str, Any])
        except msgspec.DecodeError:
            raise Unreachable("the original model's process spoke nonsense", component="prepare") from None
        if "error" in told:
            raise CannotAnswer(str(told["error"])[:400])
        return told

    def _read(self, stream: IO[bytes], size: int, deadline: float) -> bytes:
        content = bytearray()
        while len(content) < size:
            if not select.select([stream], [], [], max(deadline - time.monotonic(), 0.0))[0]:
                raise Unreachable("the original model's process does not answer", component="prepare")
            chunk = os.read(stream.fileno(), size - len(content))
            if not chunk:
                raise _gone(self._process)
            content += chunk
        return bytes(content)

    def _end(self) -> None:
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()


def _gone(process: subprocess.Popen[bytes]) -> Unreachable:
    return Unreachable(f"the original model's process died (exit status {process.poll()})", component="prepare")


def _bytes(told: dict[str, Any], name: str) -> bytes:
    found = told.get(name)
    if not isinstance(found, bytes):
        raise CannotAnswer("it gave no bytes")
    return found
