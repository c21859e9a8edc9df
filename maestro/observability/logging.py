"""Structured logs: one JSON object a line, with the trace id of the work that wrote it. One configuration for every service."""

from __future__ import annotations

import json
import logging
import re
import sys
import traceback
from datetime import UTC, datetime
from typing import TextIO

from maestro.core.model import format_time
from maestro.core.settings import settings
from maestro.observability.tracing import current_span

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "color_message"}
_CREDENTIAL = re.compile(
    r"\bmk_[A-Za-z0-9]+_[A-Za-z0-9_\-]+|(?i:bearer)\s+[A-Za-z0-9._~+/\-]{8,}=*|(://[^:/@\s]+:)[^@\s]+(?=@)"
)


class JsonFormatter(logging.Formatter):
    """A record as one line of JSON: `at, level, service, logger, message`, `trace` and `span` inside a span, `error` with an exception, and the fields given as `extra`.

    API keys, bearer tokens and passwords in URLs are replaced before the line is written.
    """

    def __init__(self, service: str) -> None:
        super().__init__()
        self._service = service

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its end."""
        document: dict[str, object] = {
            "at": format_time(datetime.fromtimestamp(record.created, UTC)),
            "level": record.levelname.lower(),
            "service": self._service,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if (span := current_span()) is not None:
            document["trace"], document["span"] = span.trace_id, span.span_id
        document.update((key, value) for key, value in vars(record).items() if key not in _STANDARD)
        if record.exc_info and record.exc_info[1] is not None:
            error = record.exc_info[1]
            document["error"] = {
                "type": type(error).__name__,
                "detail": str(error),
                "trace": "".join(traceback.format_exception(error)),
            }
        return redact(json.dumps(document, default=str, ensure_ascii=False))


def redact(text: str) -> str:
    """The text without API keys, bearer tokens and passwords in URLs.

    >>> redact("key mk_ab12_s3cr3t, postgresql://maestro:pw@db/maestro")
    'key [redacted], postgresql://maestro:[redacted]@db/maestro'
    """
    return _CREDENTIAL.sub(lambda match: f"{match[1] or ''}[redacted]", text)


class _OwnHandler(logging.StreamHandler[TextIO]):
    """The handler that `configure` installed, so that a second call replaces it."""


def configure(service: str, level: str | None = None, *, stream: TextIO | None = None) -> None:
    """Send every record of this process as JSON lines to `stream` (default: standard error); repeating it replaces the first.

    Args:
        service: the name in each line, such as `api`.
        level: debug, info, warning or error; `MAESTRO_LOG_LEVEL` when None.
        stream: where the lines go.
    """
    root = logging.getLogger()
    for handler in [each for each in root.handlers if isinstance(each, _OwnHandler)]:
        root.removeHandler(handler)
    own = _OwnHandler(stream or sys.stderr)
    own.setFormatter(JsonFormatter(service))
    root.addHandler(own)
    root.setLevel((level or settings().log_level).upper())
    # One line of access log for each request would be most of the volume; metrics count requests.
    logging.getLogger("uvicorn.access").setLevel(logging.WARNING)
    logging.getLogger("httpx").setLevel(logging.WARNING)
