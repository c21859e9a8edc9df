"""How the work of an attempt speaks to whoever runs it: marked lines on standard output, which every backend can carry.

A marked line is `::maestro:: ` and one JSON object with `kind`: `progress` (fraction, message), `log` (level, message), `trial`, `result`, `error` (a problem
document). Any other line is a log line of level info.
"""

from __future__ import annotations

import json
import sys
import threading
from typing import Any, TextIO

MARK = "::maestro:: "
LEVELS = ("debug", "info", "warning", "error")
_lock = threading.Lock()


UNTOLD = 74
"""Exit status of work that could not say what came of it: its output cannot be written (EX_IOERR of sysexits)."""


def send(kind: str, fields: dict[str, Any], stream: TextIO | None = None) -> bool:
    """Write one marked line and flush it; whether that could be done. Never raises: the listener may be gone, or the disk full."""
    line = MARK + json.dumps({"kind": kind, **fields}, allow_nan=False, default=str)
    out = stream or sys.stdout
    try:
        with _lock:
            out.write(line + "\n")
            out.flush()
    except (OSError, ValueError):
        return False
    return True


def parse(line: str) -> tuple[str, dict[str, Any]]:
    """The kind and fields of one line of output.

    >>> parse('::maestro:: {"kind": "progress", "fraction": 0.5}')
    ('progress', {'fraction': 0.5})
    >>> parse("epoch 1")
    ('log', {'level': 'info', 'message': 'epoch 1'})
    """
    if line.startswith(MARK):
        try:
            fields = json.loads(line[len(MARK) :])
            kind = str(fields.pop("kind"))
        except (ValueError, KeyError, TypeError, AttributeError):
            return "log", {"level": "warning", "message": line}
        return kind, fields
    return "log", {"level": "info", "message": line.rstrip("\n")}


class SignalProgress:
    """`maestro.core.seams.Progress` that speaks to whoever runs the attempt."""

    def __init__(self, start: float = 0.0, end: float = 1.0) -> None:
        self._start, self._span = start, end - start

    def update(self, fraction: float, message: str) -> None:
        """Report the share done."""
        send("progress", {"fraction": round(self._start + self._span * fraction, 4), "message": message})


def log(message: str, level: str = "info") -> None:
    """One line for the job's log."""
    send("log", {"level": level, "message": message})
