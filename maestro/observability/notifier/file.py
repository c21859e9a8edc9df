"""Alerts recorded in a file, one JSON document a line."""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path

from maestro.core.clock import Clock, SystemClock
from maestro.core.model import format_time
from maestro.core.seams import Alert

log = logging.getLogger(__name__)


class FileNotifier:
    """Appends each alert to `path`; several processes may append to the same file.

    Args:
        path: created with its folders when absent, readable by its owner only.
        clock: dates the lines.
    """

    def __init__(self, path: Path, clock: Clock | None = None) -> None:
        self._path = path
        self._clock: Clock = clock or SystemClock()

    def notify(self, alert: Alert) -> bool:
        """Whether the line is in the file."""
        line = json.dumps({"at": format_time(self._clock.now()), **alert.document()}, ensure_ascii=False) + "\n"
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
            try:
                # One write of an appending descriptor: lines of several writers do not mix.
                written = os.write(descriptor, line.encode())
            finally:
                os.close(descriptor)
        except OSError as error:
            log.error("alert %r could not be recorded in %s: %s", alert.title, self._path, error)
            return False
        return written == len(line.encode())
