"""The ids of every promise that docs/capabilities.md lists."""

from __future__ import annotations

_COUNTS = {
    "A": 12,
    "B": 49,
    "C": 13,
    "D": 18,
    "E": 9,
    "F": 10,
    "G": 20,
    "H": 15,
    "I": 14,
    "J": 8,
    "K": 10,
    "L": 16,
    "M": 7,
    "N": 11,
}
_UNUSED = {"B14", "B35", "G19", "L3", "N4", "N8", "N9", "N10"}
PROMISED = [f"{area}{n}" for area, last in _COUNTS.items() for n in range(1, last + 1) if f"{area}{n}" not in _UNUSED]
"""Every promise, in the order of the page."""
