"""wrk, pinned to a core of its own."""

from __future__ import annotations

import json
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

_UNITS = {"us": 1e-3, "ms": 1.0, "s": 1e3, "m": 6e4}


@dataclass(frozen=True)
class Figures:
    """One measurement.

    Args:
        per_second: requests a second.
        p50_ms: the median latency in milliseconds; `p99_ms` likewise.
        errors: answers that are no 2xx, and broken connections.
        client_share: of its core that the load generator was busy; near 1 the client is the limit.
    """

    per_second: float
    p50_ms: float
    p99_ms: float
    errors: int
    client_share: float


def script(path: Path, body: bytes, headers: dict[str, str]) -> Path:
    """The wrk script that posts one body."""
    lines = ['wrk.method = "POST"', f"wrk.body = {json.dumps(body.decode())}"]
    lines += [f"wrk.headers[{json.dumps(name)}] = {json.dumps(value)}" for name, value in headers.items()]
    path.write_text("\n".join(lines) + "\n")
    return path


def measure(url: str, lua: Path, *, connections: int, seconds: float, core: int) -> Figures:
    """Load a server with as many requests as it answers."""
    timed = ["bash", "-c", 'TIMEFORMAT="%U %S %R"; time "$@"', "bash"]
    done = subprocess.run(
        [*timed, "taskset", "-c", str(core), "wrk", "-t1", f"-c{connections}", f"-d{seconds:.0f}s", "--latency", "--timeout", "10s", "-s", str(lua), url],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    text = done.stdout
    used = [float(word) for word in done.stderr.split()[-3:]]
    broken = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", text)
    wrong = re.search(r"Non-2xx or 3xx responses: (\d+)", text)
    return Figures(
        per_second=float(_found(r"Requests/sec:\s+([\d.]+)", text)[0]),
        p50_ms=_milliseconds(r"50%\s+([\d.]+)(us|ms|s|m)", text),
        p99_ms=_milliseconds(r"99%\s+([\d.]+)(us|ms|s|m)", text),
        errors=(sum(map(int, broken.groups())) if broken else 0) + (int(wrong[1]) if wrong else 0),
        client_share=(used[0] + used[1]) / used[2],
    )


def _found(pattern: str, text: str) -> tuple[str, ...]:
    match = re.search(pattern, text)
    if match is None:
        raise RuntimeError(f"wrk says nothing of {pattern}: {text[-500:]}")
    return match.groups()


def _milliseconds(pattern: str, text: str) -> float:
    number, unit = _found(pattern, text)
    return float(number) * _UNITS[unit]
