"""Run one suite of tests, record what they show, and say in one line what was left out and why.

    python -m tools.unit SUITE RECORD [PYTEST ARGUMENT ...]

SUITE is `unit`, which starts the record anew, or one of the longer suites, each a marker and a folder of its own, which add to it.
Exit status: pytest's; a longer suite none of whose tests could run is no failure.
"""

from __future__ import annotations

import json
import os
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest

WORKERS = os.environ.get("MAESTRO_TEST_WORKERS", "2")
SUITES = ("unit", "e2e", "cluster", "node", "frameworks", "airflow")


class _LeftOut:
    """Counts skipped tests by their reason."""

    def __init__(self) -> None:
        self.reasons: Counter[str] = Counter()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.skipped and isinstance(report.longrepr, tuple):
            self.reasons[str(report.longrepr[2]).removeprefix("Skipped: ")] += 1

    def line(self) -> str:
        if not self.reasons:
            return "left out: nothing"
        parts = [f"{count} ({reason})" for reason, count in self.reasons.most_common()]
        return f"left out: {sum(self.reasons.values())} tests: " + "; ".join(parts)


def main(arguments: Sequence[str]) -> int:
    """Run a suite."""
    if len(arguments) < 2 or arguments[0] not in SUITES:
        print(f"usage: python -m tools.unit {{{','.join(SUITES)}}} RECORD [PYTEST ARGUMENT ...]", file=sys.stderr)
        return 2
    suite, name, *rest = arguments
    record = Path(name).resolve()
    if suite == "unit":
        record.unlink(missing_ok=True)
        where = ["-n", WORKERS, "--dist", "loadfile"]
    else:
        _forget(record, f"tests/{suite}")
        where = ["-m", suite, f"tests/{suite}"]
    os.environ["MAESTRO_TEST_SHOWN"] = str(record)
    left_out = _LeftOut()
    options = ["-q", "-rfE", "-p", "no:cacheprovider", "--durations=5", *where]
    status = pytest.main([*options, *rest], plugins=[left_out])
    sys.stdout.write(left_out.line() + "\n")
    return int(status)


def _forget(record: Path, folder: str) -> None:
    """Drop what an earlier run of these tests recorded."""
    if record.exists():
        lines = record.read_text().splitlines(keepends=True)
        record.write_text("".join(line for line in lines if not json.loads(line)["test"].startswith(f"{folder}/")))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
