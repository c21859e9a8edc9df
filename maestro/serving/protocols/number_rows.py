"""Large bodies of numbers are read by compiled code, where there is a compiler: without an object for each of their numbers."""

from __future__ import annotations

import ctypes
import hashlib
import logging
import threading
from pathlib import Path
from typing import Any

import numpy as np

from maestro.serving.program import NoCompiler, compile_program
from maestro.serving.table import Matrix

log = logging.getLogger(__name__)

SOURCE = Path(__file__).with_name("number_rows.c")
LARGE = 2048
"""Bytes of a body from which the program takes less time than its call."""


class NumberRows:
    """Takes the one large array of numbers out of a body.

    Args:
        folder: where the program is kept, in storage that only the server writes; the first large body has it compiled, beside the serving.
    """

    def __init__(self, folder: Path) -> None:
        self._program = folder / f"number-rows-{hashlib.sha256(SOURCE.read_bytes()).hexdigest()[:16]}.so"
        self._run: Any = None
        self._opening: threading.Thread | None = None

    def take(self, data: bytes, key: bytes, dimensions: int) -> tuple[bytes, Matrix] | None:
        """A body with `[]` in place of what `key` names, which is an array of numbers (1 dimension) or of arrays of them (2), and the numbers.

        None when the body is small, holds the key twice, or anything else there: then a general parser has to look.
        """
        if len(data) < LARGE:
            return None
        run = self._run
        if run is None:
            self._seek()
            return None
        start = data.find(key) + len(key)
        if start < len(key):
            return None
        while data[start : start + 1] in (b" ", b":", b"\n", b"\t", b"\r"):
            start += 1
        rest = len(data) - start
        values = np.empty(rest // 2 + 1)
        width, used = ctypes.c_int64(), ctypes.c_int64()
        text = np.frombuffer(data, dtype=np.uint8).ctypes.data + start
        rows = run(text, rest, values.ctypes.data, len(values), ctypes.byref(width), ctypes.byref(used))
        if rows < 0 or (rows > 0) != (dimensions == 2) or data.find(key, start + used.value) >= 0:
            return None
        # a copy lets go of the room that most of the values did not need, while the request waits for its batch
        found = values[: max(rows, 1) * width.value].copy()
        return data[:start] + b"[]" + data[start + used.value :], found if rows == 0 else found.reshape(
            rows, width.value
        )

    def open(self) -> bool:
        """Have the program at hand, compiled where it is not yet; whether that worked."""
        try:
            if not self._program.is_file():
                self._program.parent.mkdir(parents=True, exist_ok=True)
                compile_program(SOURCE, self._program)
            run = ctypes.CDLL(str(self._program)).rows_read
        except (NoCompiler, OSError) as error:
            log.info("large bodies are read without the compiled program: %s", error)
            return False
        run.argtypes = [
            ctypes.c_void_p,
            ctypes.c_int64,
            ctypes.c_void_p,
            ctypes.c_int64,
            ctypes.c_void_p,
            ctypes.c_void_p,
        ]
        run.restype = ctypes.c_int64
        self._run = run
        return True

    def wait(self, timeout_s: float) -> None:
        """Until the program that the first large body has asked for is there, or cannot be."""
        if self._opening is not None:
            self._opening.join(timeout_s)

    def _seek(self) -> None:
        if self._opening is None:  # once, and nobody waits for it
            self._opening = threading.Thread(target=self.open, name="number-rows", daemon=True)
            self._opening.start()
