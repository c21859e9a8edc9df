"""Run one suite of tests, record what they show, and say in one line what was left out and why.

    python -m tools.unit SUITE RECORD [PYTEST ARGUMENT ...]

SUITE is `unit`, which starts the record anew, or one of the longer suites, which add to it.
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
SUITES = {
    "unit": "",
    "e2e": "tests/e2e",
    "cluster": "tests/cluster",
    "node": "tests/node",
    "frameworks": "tests/frameworks",
    "airflow": "tests/airflow",
    "clients": "tests/serving/grpc/test_official_clients_protocols.py",
}
"""Where each suite's tests are: those of a folder that bear the suite's mark, or one file, which skips itself where its environment is not named."""


class _Anew:
    """Drops what earlier runs recorded of the tests that run now."""

    def __init__(self, record: Path) -> None:
        self._record = record

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        if self._record.exists():
            now = {item.nodeid for item in session.items}
            lines = self._record.read_text().splitlines(keepends=True)
            self._record.write_text("".join(line for line in lines if json.loads(line)["test"] not in now))


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
    left_out = _LeftOut()
    plugins: list[object] = [left_out]
    if suite == "unit":
        record.unlink(missing_ok=True)
        where = ["-n", WORKERS, "--dist", "loadfile"]
    else:
        plugins.append(_Anew(record))
        where = [SUITES[suite]] if SUITES[suite].endswith(".py") else ["-m", suite, SUITES[suite]]
    os.environ["MAESTRO_TEST_SHOWN"] = str(record)
    options = ["-q", "-rfE", "-p", "no:cacheprovider", "--durations=5", *where]
    status = pytest.main([*options, *rest], plugins=plugins)
    sys.stdout.write(left_out.line() + "\n")
    return int(status)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
