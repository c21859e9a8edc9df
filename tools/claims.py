"""Check that every measured number that README and docs print is a row of docs/claims.md, and that every link leads somewhere.

    python -m tools.claims

A number with a unit in prose must be the text of a link to its row: `[3.1 s](docs/claims.md#demo-time)`. Numbers in code spans and blocks are
not measurements (they are settings, inputs or output). A line that states a policy, a promise or a limit in prose may end with the comment
`<!-- not measured: why -->`; the reason is required.
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from pathlib import Path

from tools.markdown import ROOT, anchors, cells, links, pages, without_code
from tools.promises import PROMISED

PAGE = ROOT / "docs" / "claims.md"
COLUMNS = ["claim", "definition", "command", "hardware", "value", "date", "shows"]

_NUMBER = re.compile(
    r"(?<![\w.])[~≈<>≤≥]?\s?\d[\d,.]*\s?(?:"
    r"(?:ns|µs|us|ms|s|seconds?|minutes?|hours?|%|percent|KB|MB|GB|KiB|MiB|GiB|TB|fold|times|×)(?![\w/])"
    r"|(?:req|requests|rows|predictions|events|jobs|trials)/s|[x×](?![\w]))"
)
_EXCUSE = re.compile(r"<!-- not measured: \S.* -->")


@dataclass(frozen=True)
class Claim:
    """One row: an anchor, what was measured, by which command, on what, the last value and its date, the promises it measures."""

    name: str
    definition: str
    command: str
    hardware: str
    value: str
    date: str
    shows: tuple[str, ...]


def read_claims(text: str) -> list[Claim]:
    """The rows of the page; the name of a claim is its anchor."""
    found = []
    for line in text.splitlines():
        values = cells(line) if line.startswith("|") else []
        match = re.match(r'<a id="([^"]+)"></a>', values[0]) if values else None
        if match and len(values) == len(COLUMNS):
            shows = tuple(re.findall(r"[A-N]\d+", values[6]))
            found.append(Claim(match[1], values[1], values[2], values[3], values[4], values[5], shows))
    return found


def figures(text: str | None = None) -> dict[tuple[str, str], str]:
    """The link to the measured value of each promise that has one, by id and environment."""
    rows = read_claims(PAGE.read_text() if text is None else text)
    found: dict[tuple[str, str], str] = {}
    for claim in rows:
        environment = "cluster" if "cluster" in claim.hardware else "laptop"
        for name in claim.shows:
            found.setdefault((name, environment), f"[{claim.value}](claims.md#{claim.name})")
    return found


def unclaimed(text: str) -> list[tuple[int, str]]:
    """Numbers with a unit that stand in prose without a link to their row, with their line."""
    found = []
    plain = without_code(text).splitlines()
    for number, (line, raw) in enumerate(zip(plain, text.splitlines(), strict=False), start=1):
        if _EXCUSE.search(raw):
            continue
        bare = re.sub(r"\[[^\]]*\]\([^)]*claims\.md#[^)]*\)", "", line)
        bare = re.sub(r"<!--.*?-->|<[^>]+>", "", bare)
        found += [(number, match[0].strip()) for match in _NUMBER.finditer(bare)]
    return found


def broken_links(page: Path, text: str) -> list[tuple[int, str]]:
    """Links inside the repository that lead nowhere."""
    found = []
    for number, _, target in links(text):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        destination = (page.parent / path).resolve() if path else page
        missing = not destination.exists()
        if missing or (anchor and destination.suffix == ".md" and anchor not in anchors(destination.read_text())):
            found.append((number, target))
    return found


def problems(root: Path = ROOT) -> list[str]:
    """Everything that is wrong with README, the pages at the root and docs/."""
    wrong = []
    for page in pages(root):
        text, name = page.read_text(), page.relative_to(root)
        wrong += [f"{name}:{number}: link to {target} leads nowhere" for number, target in broken_links(page, text)]
        if page.name not in {"claims.md", "capabilities.md", "CHANGELOG.md"}:
            wrong += [
                f"{name}:{number}: {shown!r} is no link to a row of docs/claims.md" for number, shown in unclaimed(text)
            ]
    for claim in read_claims((root / "docs" / "claims.md").read_text()):
        if not re.fullmatch(r"\d{4}-\d{2}-\d{2}", claim.date) or not all(
            (claim.definition, claim.command, claim.hardware, claim.value)
        ):
            wrong.append(
                f"docs/claims.md: {claim.name}: definition, command, hardware, value and a date YYYY-MM-DD are needed"
            )
        wrong += [f"docs/claims.md: {claim.name}: {name} is no promise" for name in claim.shows if name not in PROMISED]
    return wrong


def main() -> int:
    """Print what is wrong; returns the exit status."""
    wrong = problems()
    for line in wrong:
        print(line, file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
