"""Apply named sabotages one at a time to a copy of the repository; the tests that are named must turn red.

    python -m tools.mutate [NAME ...]

A sabotage is an entry of `tools/mutations/*.toml`: the file, the text that stands there exactly once, what replaces it, and the tests that have
to notice. The named tests are first run on the untouched copy, where they must be green. Exit status 1 when a sabotage survives, when its text
is not found, or when it breaks the tests' collection instead of failing a test.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue

from tools.markdown import ROOT

LISTS = ROOT / "tools" / "mutations"
FOLDERS = ("maestro", "tests", "tools", "training", "serving", "governance", "monitoring", "operations")
WORKERS = 2
SECONDS = 300
"""No selection of tests may take longer."""

FAILED = 1
"""pytest's exit status when tests ran and some failed."""


@dataclass(frozen=True)
class Mutation:
    """One sabotage; `tests` are pytest's arguments."""

    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]

    def misfit(self, root: Path = ROOT) -> str | None:
        """Why it cannot be applied, or None."""
        path = root / self.file
        if not path.exists():
            return f"{self.file} does not exist"
        count = path.read_text().count(self.old)
        if count != 1:
            return f"its text stands {count} times in {self.file}; once is needed"
        missing = [
            test for test in self.tests if not test.startswith("-") and not (root / test.split("::")[0]).exists()
        ]
        return f"{missing[0]} does not exist" if missing else None


def load(folder: Path = LISTS) -> list[Mutation]:
    """Every sabotage of the lists, by file and order."""
    entries = [entry for path in sorted(folder.glob("*.toml")) for entry in tomllib.loads(path.read_text())["mutation"]]
    return [
        Mutation(entry["name"], entry["file"], entry["old"], entry["new"], tuple(entry["tests"])) for entry in entries
    ]


def copy_of(root: Path, target: Path) -> Path:
    """What the tests need, without environment, caches and outputs."""
    ignored = shutil.ignore_patterns("__pycache__", "*.pyc", ".*_cache")
    for name in FOLDERS:
        if (root / name).is_dir():
            shutil.copytree(root / name, target / name, ignore=ignored)
    for path in root.iterdir():
        if path.is_file():
            shutil.copy2(path, target / path.name)
    return target


def run_tests(copy: Path, tests: Sequence[str]) -> int:
    """pytest's exit status; 124 when it took too long."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MAESTRO_")}
    environment |= {"PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *tests]
    try:
        done = subprocess.run(
            command,
            cwd=copy,
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return 124
    return done.returncode


def verdict(mutation: Mutation, copy: Path) -> str:
    """`caught`, or how the sabotage got through."""
    if (reason := mutation.misfit(copy)) is not None:
        return reason
    path = copy / mutation.file
    original = path.read_text()
    path.write_text(original.replace(mutation.old, mutation.new))
    try:
        status = run_tests(copy, mutation.tests)
    finally:
        path.write_text(original)
    if status in {FAILED, 124}:
        return "caught"
    return "survived" if status == 0 else f"broke the tests instead of failing one (pytest {status})"


def main(names: Sequence[str]) -> int:
    """Run the sabotages named, or all; returns the exit status."""
    chosen = [mutation for mutation in load() if not names or mutation.name in names]
    with tempfile.TemporaryDirectory(prefix="maestro-mutate-") as folder:
        copies: SimpleQueue[Path] = SimpleQueue()
        for number in range(WORKERS):
            copies.put(copy_of(ROOT, Path(folder) / str(number)))

        def green(tests: tuple[str, ...]) -> bool:
            copy = copies.get()
            try:
                return run_tests(copy, tests) == 0
            finally:
                copies.put(copy)

        def judged(mutation: Mutation) -> str:
            copy = copies.get()
            try:
                return verdict(mutation, copy)
            finally:
                copies.put(copy)

        with ThreadPoolExecutor(WORKERS) as pool:
            selections = sorted({mutation.tests for mutation in chosen})
            sound = dict(zip(selections, pool.map(green, selections), strict=True))
            results = pool.map(judged, [mutation for mutation in chosen if sound[mutation.tests]])
            escaped = [mutation.name for mutation in chosen if not sound[mutation.tests]]
            for name in escaped:
                print(f"not judged  {name}: its tests are red without it", flush=True)
            for mutation, result in zip((one for one in chosen if sound[one.tests]), results, strict=True):
                print(
                    f"{'caught' if result == 'caught' else 'ESCAPED':<11} {mutation.name}{'' if result == 'caught' else ': ' + result}",
                    flush=True,
                )
                if result != "caught":
                    escaped.append(mutation.name)
    print(f"{len(chosen) - len(escaped)} of {len(chosen)} sabotages caught")
    return 1 if escaped or not chosen else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
