"""The worker processes of a batch job: each takes the next piece, and one that dies is replaced."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import maestro
from maestro.core.errors import BadInput, MaestroError, Refused, Unreachable
from maestro.serving.batch.parts import Part

ATTEMPTS = 3
"""Workers that may die over one piece before the job gives up."""


class Crew:
    """Works through pieces with so many processes.

    Args:
        order: what each worker is told first; see `maestro.serving.batch.worker`.
        processes: how many.
        on_rows: called with rows as they are answered, from one thread at a time.
    """

    def __init__(self, order: dict[str, Any], processes: int, on_rows: Callable[[int], None]) -> None:
        self._order = order | {"parent": os.getpid()}
        self._count = processes
        self._on_rows = on_rows
        self._lock = threading.Lock()
        self._running: list[subprocess.Popen[str]] = []
        self._problem: MaestroError | None = None
        self.paths: set[str] = set()

    def work(self, pieces: Sequence[int]) -> list[Part]:
        """Answer the pieces; their parts.

        Raises:
            BadInput: rows are at fault.
            Unreachable: the model fails, or workers keep dying.
        """
        waiting = iter(pieces)
        parts: list[Part] = []
        threads = [
            threading.Thread(target=self._lead, args=(waiting, parts), name=f"batch-{n}", daemon=True)
            for n in range(min(self._count, len(pieces)))
        ]
        for thread in threads:
            thread.start()
        try:
            for thread in threads:
                while thread.is_alive():
                    thread.join(0.2)
        finally:
            self._stop()
        if self._problem is not None:
            raise self._problem
        return parts

    def _lead(self, waiting: Iterator[int], parts: list[Part]) -> None:
        try:
            process = self._start()
            while (piece := self._next(waiting)) is not None:
                for attempt in range(ATTEMPTS):
                    part = self._ask(process, piece)
                    if part is not None:
                        break
                    if self._problem is not None:
                        return
                    if attempt == ATTEMPTS - 1:
                        raise Unreachable(
                            f"{ATTEMPTS} workers died over piece {piece}", remedy="see their output; free memory", component="batch"
                        )  # fmt: skip
                    process = self._start()
                assert part is not None  # noqa: S101 - the loop ends otherwise
                with self._lock:
                    parts.append(part)
        except MaestroError as error:
            with self._lock:
                self._problem = self._problem or error
        except Exception as error:  # noqa: BLE001 - a piece that nobody answers must not pass for one that is done
            with self._lock:
                self._problem = self._problem or Unreachable(
                    f"a batch worker spoke nonsense: {type(error).__name__}: {error}", component="batch"
                )

    def _next(self, waiting: Iterator[int]) -> int | None:
        with self._lock:
            return None if self._problem is not None else next(waiting, None)

    def _start(self) -> subprocess.Popen[str]:
        package = Path(maestro.__file__).resolve().parent.parent
        paths = [str(package), *filter(None, [os.environ.get("PYTHONPATH")])]
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "maestro.serving.batch.worker"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"},
        )  # fmt: skip
        with self._lock:
            self._running.append(process)
        self._tell(process, json.dumps(self._order))
        message = self._hear(process)
        if message is None:
            raise Unreachable("a batch worker died while it loaded", remedy="see its output", component="batch")
        if "path" in message:
            with self._lock:
                self.paths.add(str(message["path"]))
        return process

    def _ask(self, process: subprocess.Popen[str], piece: int) -> Part | None:
        """The part of a piece; None when the worker died over it."""
        self._tell(process, str(piece))
        answered = 0
        while (message := self._hear(process)) is not None:
            if "part" in message:
                return Part.model_validate(message["part"])
            answered += int(message.get("rows", 0))
            with self._lock:
                self._on_rows(int(message.get("rows", 0)))
        with self._lock:
            self._on_rows(-answered)
        return None

    def _tell(self, process: subprocess.Popen[str], line: str) -> None:
        assert process.stdin is not None  # noqa: S101 - it was opened with a pipe
        try:
            process.stdin.write(line + "\n")
            process.stdin.flush()
        except OSError:
            pass  # it has died, which reading tells

    def _hear(self, process: subprocess.Popen[str]) -> dict[str, Any] | None:
        assert process.stdout is not None  # noqa: S101 - it was opened with a pipe
        line = process.stdout.readline()
        if not line:
            return None
        message: dict[str, Any] = json.loads(line)
        if "problem" in message:
            problem = message["problem"]
            kind = {2: BadInput, 4: Refused}.get(int(message["exit_code"]), Unreachable)
            raise kind(problem["detail"], remedy=problem.get("remedy", ""), field=problem.get("field"))
        return message

    def _stop(self) -> None:
        for process in self._running:
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    pipe.close()
