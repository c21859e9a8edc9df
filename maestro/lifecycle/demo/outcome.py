"""What a step of the story reports."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Outcome:
    """What a step did.

    Args:
        result: one line for the table.
        expected: whether the verdict was the one the story expects.
        where: where to look, a path or an address.
        sections: pieces of HTML for the report.
        facts: numbers for `result.json`.
    """

    result: str
    expected: bool
    where: str
    sections: tuple[str, ...] = ()
    facts: dict[str, Any] = field(default_factory=dict)
