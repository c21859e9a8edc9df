"""Run every test on two workers, record what the tests show, and say in one line what was left out and why.

    python -m tools.unit RECORD [PYTEST ARGUMENT ...]

Exit status: pytest's.
"""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest

WORKERS = os.environ.get("MAESTRO_TEST_WORKERS", "2")


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
    """Run the tests; the first argument is the file for what they show."""
    record, *rest = arguments
    Path(record).unlink(missing_ok=True)
    os.environ["MAESTRO_TEST_SHOWN"] = str(Path(record).resolve())
    left_out = _LeftOut()
    options = ["-q", "-rfE", "-p", "no:cacheprovider", "-n", WORKERS, "--dist", "loadfile", "--durations=5"]
    status = pytest.main([*options, *rest], plugins=[left_out])
    sys.stdout.write(left_out.line() + "\n")
    return int(status)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
