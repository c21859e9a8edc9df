"""Log lines are JSON, carry the trace, and hold no credential."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator

import pytest

from maestro.observability.logging import configure
from maestro.observability.tracing import start_span


@pytest.fixture
def lines() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    before, level = list(root.handlers), root.level
    stream = io.StringIO()
    configure("api", "info", stream=stream)
    yield stream
    root.handlers[:] = before
    root.setLevel(level)


def test_a_record_is_one_line_of_json_with_its_trace(lines: io.StringIO) -> None:
    with start_span("predict") as span:
        logging.getLogger("maestro.serving").warning("model %s is slow\nvery", "m", extra={"version": "1.0.0"})
    written = lines.getvalue().splitlines()
    assert len(written) == 1
    entry = json.loads(written[0])
    assert entry["message"] == "model m is slow\nvery"
    assert (entry["level"], entry["service"], entry["logger"]) == ("warning", "api", "maestro.serving")
    assert (entry["trace"], entry["span"]) == (span.trace_id, span.span_id)
    assert entry["version"] == "1.0.0"
    assert entry["at"].endswith("Z")


def test_an_exception_is_in_the_same_line(lines: io.StringIO) -> None:
    try:
        raise ValueError("no such file")
    except ValueError:
        logging.getLogger("x").exception("could not load")
    entry = json.loads(lines.getvalue())
    assert entry["error"]["type"] == "ValueError"
    assert "test_logging.py" in entry["error"]["trace"]


def test_configuring_twice_writes_once(lines: io.StringIO) -> None:
    configure("worker", "info", stream=lines)
    logging.getLogger("x").info("once")
    assert [json.loads(line)["service"] for line in lines.getvalue().splitlines()] == ["worker"]


def test_the_level_is_kept(lines: io.StringIO) -> None:
    logging.getLogger("x").debug("too quiet")
    assert lines.getvalue() == ""


@pytest.mark.parametrize(
    "secret", ["mk_k1_verysecret", "Authorization: Bearer eyJhbGciOi.verysecret", "postgresql://me:verysecret@db/m"]
)
def test_credentials_are_replaced(lines: io.StringIO, secret: str) -> None:
    logging.getLogger("x").info("got %s", secret, extra={"also": secret})
    assert "verysecret" not in lines.getvalue()
    assert lines.getvalue().count("[redacted]") == 2
