"""Run every test on two workers, record what the tests show, and say in one line what was left out and why.

    python -m tools.unit RECORD [PYTEST ARGUMENT ...]
    python -m tools.unit --e2e RECORD [PYTEST ARGUMENT ...]     the tests of the whole platform, one after another

The second adds to what the first recorded. Exit status: pytest's.
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
E2E = "tests/e2e"


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
    """Run the tests; the first argument that is no flag is the file for what they show."""
    whole_platform = arguments[:1] == ["--e2e"]
    name, *rest = arguments[1:] if whole_platform else arguments
    record = Path(name).resolve()
    if whole_platform:
        _forget(record, E2E)
    else:
        record.unlink(missing_ok=True)
    os.environ["MAESTRO_TEST_SHOWN"] = str(record)
    left_out = _LeftOut()
    where = ["-m", "e2e", E2E] if whole_platform else ["-n", WORKERS, "--dist", "loadfile"]
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
