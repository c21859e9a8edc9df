"""Reading the Markdown of README and docs: tables, headings, links. Just the part of Markdown that these files use."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def pages(root: Path = ROOT) -> list[Path]:
    """README, the other pages at the root and everything under docs/."""
    return sorted([*root.glob("*.md"), *(root / "docs").rglob("*.md")])


def cells(line: str) -> list[str]:
    r"""The cells of one table row; `\|` is a bar inside a cell.

    >>> cells("| a | b \\| c |")
    ['a', 'b | c']
    """
    inner = line.strip().removeprefix("|").removesuffix("|")
    return [cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", inner)]


def row(values: list[str]) -> str:
    """One table row.

    >>> row(["a", "b | c"])
    '| a | b \\\\| c |'
    """
    return "| " + " | ".join(value.replace("|", "\\|") for value in values) + " |"


def without_code(text: str) -> str:
    """The text with fenced blocks and code spans blanked, line by line, so that line numbers stay."""
    text = re.sub(r"^```.*?^```", lambda match: "\n" * match[0].count("\n"), text, flags=re.DOTALL | re.MULTILINE)
    return re.sub(r"`[^`\n]*`", lambda match: " " * len(match[0]), text)


def anchors(text: str) -> set[str]:
    """Where links into a page may point: its headings, by GitHub's rule, and explicit `<a id="…">`."""
    found = set(re.findall(r'<a (?:id|name)="([^"]+)"', text))
    for heading in re.findall(
        r"^#{1,6} +(.+?)\s*$", re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE), re.MULTILINE
    ):
        plain = re.sub(r"[^\w\- ]", "", heading.lower())
        found.add(plain.replace(" ", "-"))
    return found


def links(text: str) -> list[tuple[int, str, str]]:
    """Every link and image as line number, shown text, target."""
    found = []
    for number, line in enumerate(without_code(text).splitlines(), start=1):
        found += [(number, match[1], match[2]) for match in re.finditer(r"\[([^\]]*)\]\(([^)\s]+)\)", line)]
        found += [(number, "", match[1]) for match in re.finditer(r'(?:src|href)="([^"]+)"', line)]
    return found
