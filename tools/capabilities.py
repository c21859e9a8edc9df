"""Write the states of docs/capabilities.md from what the last test run showed.

    python -m tools.capabilities [RECORD]          rewrite the states and the column "shown by"
    python -m tools.capabilities --check           ids, columns and paths only

RECORD is the file that `MAESTRO_TEST_SHOWN` named: one JSON line for each marked test. A state is `ran` when every test that shows the row
passed and at least one of them goes through a door; `measured` when docs/claims.md also holds a figure for it; `accepted: without PROGRAM` when an API
server took the objects and the program that would have acted on them was missing; `not yet` otherwise, so that a skipped or failed test shows
nothing. `—` stays: that environment has no part in the row.
"""

from __future__ import annotations

import json
import re
import sys
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tools import claims
from tools.markdown import ROOT, cells, row
from tools.promises import PROMISED

PAGE = ROOT / "docs" / "capabilities.md"
RECORD = ROOT / ".capabilities" / "shown.jsonl"
COLUMNS = ["id", "what", "where", "shown by", "laptop", "cluster"]
ENVIRONMENTS = {"laptop": 4, "cluster": 5}
NO_PART = "—"


@dataclass
class Evidence:
    """What the tests marked with one id did in one environment."""

    files: set[str] = field(default_factory=set)
    failed: list[str] = field(default_factory=list)
    passed: int = 0
    doors: int = 0
    missing: set[str] = field(default_factory=set)

    @property
    def is_shown(self) -> bool:
        """Whether every test passed and one went through a door."""
        return self.passed > 0 and not self.failed and self.doors > 0

    @property
    def accepted(self) -> str | None:
        """The programs that were missing, where an API server took the objects and nothing more was shown."""
        return ", ".join(sorted(self.missing)) if self.missing and not self.is_shown and not self.failed else None


def read_record(lines: Iterable[str]) -> dict[tuple[str, str], Evidence]:
    """Evidence by id and environment.

    >>> line = '{"test": "tests/cli/test_x.py::test_y", "ids": ["H6"], "env": "laptop", "door": true, "outcome": "passed"}'
    >>> read_record([line])["H6", "laptop"].is_shown
    True
    >>> line = '{"test": "tests/cluster/test_x.py::test_y", "ids": ["K2"], "env": "cluster", "door": true, "accepted": "istiod", "outcome": "passed"}'
    >>> state(read_record([line])["K2", "cluster"], None)
    'accepted: without istiod'
    """
    found: dict[tuple[str, str], Evidence] = defaultdict(Evidence)
    for line in lines:
        entry = json.loads(line)
        for name in entry["ids"]:
            evidence = found[name, entry["env"]]
            if entry["outcome"] == "passed" and entry.get("accepted"):
                evidence.missing.add(entry["accepted"])
                evidence.files.add(entry["test"].split("::")[0])
            elif entry["outcome"] == "passed":
                evidence.passed += 1
                evidence.doors += bool(entry["door"])
                evidence.files.add(entry["test"].split("::")[0])
            else:
                evidence.failed.append(f"{entry['test']} {entry['outcome']}")
    return dict(found)


def state(evidence: Evidence | None, figure: str | None) -> str:
    """The word for one row in one environment; `figure` is a link to the measured value."""
    if evidence is not None and evidence.accepted:
        return f"accepted: without {evidence.accepted}"
    if evidence is None or not evidence.is_shown:
        return "not yet"
    return f"measured: {figure}" if figure else "ran"


def rewrite(text: str, found: dict[tuple[str, str], Evidence], figures: dict[tuple[str, str], str]) -> str:
    """The page with its states and its column "shown by" replaced."""
    lines = []
    for line in text.splitlines():
        values = cells(line) if line.startswith("|") else []
        if len(values) == len(COLUMNS) and values[0] in PROMISED:
            name = values[0]
            files: set[str] = set()
            for environment, column in ENVIRONMENTS.items():
                evidence = found.get((name, environment))
                if values[column] != NO_PART or evidence is not None:
                    values[column] = state(evidence, figures.get((name, environment)))
                if evidence is not None and (evidence.is_shown or evidence.accepted):
                    files |= evidence.files
            values[3] = ", ".join(f"`{path}`" for path in sorted(files)) or NO_PART
            line = row(values)
        lines.append(line)
    return "\n".join(lines) + "\n"


def problems(text: str, root: Path = ROOT) -> list[str]:
    """What is wrong with the page: ids missing, twice or unknown; paths that do not exist."""
    rows = [cells(line) for line in text.splitlines() if re.match(r"\| [A-N]\d+ \|", line)]
    names = [values[0] for values in rows]
    wrong = [f"{name}: missing" for name in PROMISED if name not in names]
    wrong += [f"{name}: unknown or twice" for name in names if name not in PROMISED or names.count(name) > 1]
    for values in rows:
        if len(values) != len(COLUMNS):
            wrong.append(f"{values[0]}: {len(values)} columns, {len(COLUMNS)} are needed")
            continue
        for path in re.findall(r"`([^`]+)`", values[2] + values[3]):
            if "/" in path and not path.startswith("/") and not any(root.glob(path.split("::")[0].rstrip("/"))):
                wrong.append(f"{values[0]}: {path} does not exist")
    return wrong


def main(arguments: Sequence[str]) -> int:
    """Check, and unless told otherwise rewrite, the page; returns the exit status."""
    text = PAGE.read_text()
    if "--check" not in arguments:
        record = Path(arguments[0]) if arguments else RECORD
        if not record.exists():
            print(f"{record} is not there: run `make test` first", file=sys.stderr)
            return 2
        found = read_record(record.read_text().splitlines())
        text = rewrite(text, found, claims.figures())
        PAGE.write_text(text)
        _report(found)
    wrong = problems(text)
    for line in wrong:
        print(f"docs/capabilities.md: {line}", file=sys.stderr)
    return 1 if wrong else 0


def _report(found: dict[tuple[str, str], Evidence]) -> None:
    for (name, environment), evidence in sorted(found.items()):
        if name not in PROMISED:
            print(f"{name}: no such promise", file=sys.stderr)
        elif evidence.failed:
            print(f"{name} ({environment}) shows nothing: {evidence.failed[0]}", file=sys.stderr)
        elif not evidence.doors and not evidence.accepted:
            print(f"{name} ({environment}) shows nothing: no test goes through a door", file=sys.stderr)
    shown = [name for name, environment in found if environment == "laptop" and found[name, environment].is_shown]
    print(f"{len(shown)} of {len(PROMISED)} promises work on the laptop: {' '.join(sorted(shown, key=PROMISED.index))}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
