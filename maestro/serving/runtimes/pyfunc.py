"""Any MLflow model, in a process of its own without credentials or network: the formats that execute code load only there."""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import msgspec
import numpy as np

from maestro.core.contract import ModelContract
from maestro.core.errors import BadInput, MaestroError
from maestro.security.sandbox import popen
from maestro.serving.runtimes import pyfunc_worker
from maestro.serving.runtimes._base import ORIGINAL, Answers, ModelFailed, ModelTimeout
from maestro.serving.table import Batch, Prediction

log = logging.getLogger(__name__)

MLMODEL = "MLmodel"
LOAD_S = 120.0
"""How long importing a model's libraries and deserialising it may take."""
HUNG_S = 20.0
"""A request that has kept the process busy for longer than this is given up and the process with it."""
_RESTART_PAUSE_S = (0.0, 1.0, 5.0, 15.0)

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder().decode


class PyfuncRuntime:
    """Speaks length-prefixed msgpack with the worker over its stdin and stdout. The worker answers one request at a time.

    A dead worker is started again in the background; until it has loaded, predictions fail at once. What it prints goes to its stderr,
    which is kept for the reason that errors give.

    Args:
        folder: the version's private folder, an MLflow model.
        contract: names and types of the features.
        private: files and folders that the process must not be able to read, beside everything that it needs not.
    """

    kind: ClassVar[str] = "pyfunc"

    def __init__(self, folder: Path, contract: ModelContract, private: Sequence[Path] = ()) -> None:
        self._folder = folder
        self._private = private
        self._contract = contract
        self._worker: _Worker | None = None
        self._lock = threading.Lock()
        self._closed = False
        self._restarting = False
        self._failures = 0

    @property
    def quick(self) -> bool:
        """Never: another process answers."""
        return False

    @property
    def path(self) -> str:
        """What was logged."""
        return ORIGINAL

    @property
    def inline(self) -> bool:
        """Never: another process answers."""
        return False

    def cost_us(self, rows: int) -> float:
        """Not measured."""
        return float("inf")

    def load(self) -> None:
        """Start the worker and wait until it has deserialised the model."""
        worker = _Worker(self._folder, self._private)
        try:
            worker.wait_loaded(LOAD_S)
        except ModelFailed as error:
            worker.stop()
            raise BadInput(
                f"the MLflow model cannot be loaded: {error.detail}",
                field=MLMODEL,
                remedy="see the model process's output in the server's log; log the model again with its requirements",
            ) from None
        with self._lock:
            if self._closed:
                worker.stop()
                raise ModelFailed("the model was closed while it loaded", remedy="load it again")
            self._worker = worker

    def warm_up(self, sample: Batch) -> None:
        """Answer the sample twice: the first answer imports what the model needs."""
        self.predict(sample, LOAD_S)
        self.predict(sample, HUNG_S)

    def predict(self, batch: Batch, timeout_s: float) -> Prediction:
        """Ask the worker."""
        worker = self._worker
        if worker is None:
            raise ModelFailed("the model process is not running", remedy="ask again in a few seconds")
        try:
            values = worker.ask(request_of(batch), timeout_s)
        except ModelTimeout:
            if worker.busy_for() > HUNG_S:
                worker.stop()
                self._restart(worker)
            raise
        except _Died as error:
            self._restart(worker)
            raise ModelFailed(
                f"the model process died: {error}", remedy="it is being started again; see the server's log"
            ) from None
        self._failures = 0
        if not isinstance(values, list) or len(values) != batch.size:
            raise ModelFailed(
                f"the model did not give one answer for each of {batch.size} rows", remedy="correct its predict"
            )
        return Prediction(values)

    def answer(self, batch: Batch, timeout_s: float) -> Answers:
        """Ask the worker; without scores, as MLflow's own interface."""
        values = self.predict(batch, timeout_s).values
        numeric = all(isinstance(value, int | float) for value in values)
        array = np.array(values) if numeric else np.empty(len(values), dtype=object)
        if not numeric:
            array[:] = values
        return Answers(array)

    def close(self) -> None:
        """End the worker."""
        with self._lock:
            self._closed = True
            worker, self._worker = self._worker, None
        if worker is not None:
            worker.stop()

    @property
    def pid(self) -> int | None:
        """The worker's process id while one runs."""
        worker = self._worker
        return None if worker is None else worker.pid

    def _restart(self, dead: _Worker) -> None:
        with self._lock:
            if self._closed or self._restarting or (self._worker is not None and self._worker is not dead):
                return
            self._worker = None
            self._restarting = True
            pause = _RESTART_PAUSE_S[min(self._failures, len(_RESTART_PAUSE_S) - 1)]
            self._failures += 1
        threading.Thread(target=self._start_again, args=(pause,), name="pyfunc-restart", daemon=True).start()

    def _start_again(self, pause: float) -> None:
        while not self._closed:
            time.sleep(pause)
            try:
                self._restarting = False
                self.load()
            except MaestroError as error:
                log.warning("model process: %s", error.detail)
                self._failures += 1
                pause = _RESTART_PAUSE_S[min(self._failures, len(_RESTART_PAUSE_S) - 1)]
                continue
            return


class _Died(Exception):
    """The worker has ended."""


class _Worker:
    """One process: a thread reads its answers, another its stderr."""

    def __init__(self, folder: Path, private: Sequence[Path]) -> None:
        program = Path(pyfunc_worker.__file__)
        self._process = popen(
            [sys.executable, "-I", str(program), str(folder)],
            readable=[folder],
            private=private,
            stderr=subprocess.PIPE,
        )
        self._numbers = itertools.count(1)
        self._waiting: dict[int, queue.SimpleQueue[dict[str, Any] | None]] = {}
        self._since: dict[int, float] = {}
        self._lock = threading.Lock()
        self._told: list[str] = []
        self._ended = False
        self._waiting[0] = queue.SimpleQueue()
        for target in (self._read_answers, self._read_stderr):
            threading.Thread(target=target, name=f"pyfunc-{self._process.pid}", daemon=True).start()

    @property
    def pid(self) -> int:
        return self._process.pid

    def wait_loaded(self, timeout_s: float) -> None:
        """Wait for the worker's first message."""
        try:
            message = self._waiting[0].get(timeout=timeout_s)
        except queue.Empty:
            raise ModelFailed(f"it did not load within {timeout_s:.0f} s", remedy="use a smaller model") from None
        if message is None:
            raise ModelFailed(f"its process died: {self.reason()}", remedy="see the server's log")
        if "error" in message:
            raise ModelFailed(str(message["error"]), remedy="see the server's log")

    def ask(self, request: dict[str, Any], timeout_s: float) -> Any:
        """One request and its answer."""
        number = next(self._numbers)
        answers: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        data = _encode(request | {"id": number})
        with self._lock:
            if self._ended:
                raise _Died(self.reason())
            self._waiting[number] = answers
            self._since[number] = time.monotonic()
            try:
                assert self._process.stdin is not None  # noqa: S101 - it was opened with a pipe
                self._process.stdin.write(len(data).to_bytes(4, "big") + data)
                self._process.stdin.flush()
            except (OSError, ValueError):
                self._waiting.pop(number, None)
                self._since.pop(number, None)
                raise _Died(self.reason()) from None
        try:
            answer = answers.get(timeout=max(timeout_s, 0.001))
        except queue.Empty:
            raise ModelTimeout(
                f"the model process did not answer within {timeout_s * 1000:.0f} ms", remedy="raise timeout_ms"
            ) from None
        if answer is None:
            raise _Died(self.reason())
        if "error" in answer:
            raise ModelFailed(f"the model failed: {answer['error']}", remedy="see the server's log")
        return answer["values"]

    def busy_for(self) -> float:
        """Seconds since the oldest request that has no answer yet."""
        with self._lock:
            oldest = min(self._since.values(), default=None)
        return 0.0 if oldest is None else time.monotonic() - oldest

    def reason(self) -> str:
        """How it ended and the last it said."""
        code = self._process.poll()
        last = " | ".join(line for line in self._told[-3:] if line.strip())
        return f"exit status {code}{': ' + last if last else ''}"[:500]

    def stop(self) -> None:
        """End the process and everything that it started."""
        with contextlib.suppress(OSError):
            os.killpg(self._process.pid, 9)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=5)

    def _read_answers(self) -> None:
        assert self._process.stdout is not None  # noqa: S101 - it was opened with a pipe
        stream = self._process.stdout
        try:
            while (header := stream.read(4)) and len(header) == 4:
                size = int.from_bytes(header, "big")
                if size > pyfunc_worker.MAX_FRAME:
                    break
                body = stream.read(size)
                if len(body) < size:
                    break
                message = _decode(body)
                number = int(message["id"])
                with self._lock:
                    answers = self._waiting.pop(number, None)
                    self._since.pop(number, None)
                if answers is not None:  # else its caller has gone
                    answers.put(message)
        except (OSError, ValueError, KeyError, TypeError, msgspec.DecodeError):
            log.warning("model process %d spoke nonsense", self._process.pid)
        finally:
            self.stop()
            with self._lock:
                self._ended = True
                waiting, self._waiting = self._waiting, {}
                self._since = {}
            for answers in waiting.values():
                answers.put(None)
            with contextlib.suppress(OSError):
                stream.close()
            if self._process.stdin is not None:
                with contextlib.suppress(OSError, ValueError):
                    self._process.stdin.close()

    def _read_stderr(self) -> None:
        assert self._process.stderr is not None  # noqa: S101 - it was opened with a pipe
        with self._process.stderr as stream:
            for raw in stream:
                line = raw.decode(errors="replace").rstrip()
                log.info("model process %d: %s", self._process.pid, line)
                self._told.append(line[:300])
                del self._told[:-20]


def request_of(batch: Batch) -> dict[str, Any]:
    """The batch as the model process takes it."""
    columns: list[Any] = []
    for position, kind in enumerate(batch.types):
        values = batch.column(position)
        if kind == "string":
            columns.append(values.tolist())
        elif kind == "float64":
            columns.append(np.ascontiguousarray(values, dtype="<f8").tobytes())
        else:
            columns.append(
                [None if np.isnan(value) else (bool(value) if kind == "bool" else int(value)) for value in values]
            )
    return {"names": list(batch.names), "types": list(batch.types), "columns": columns}
