"""What is searched, as options: `--dimension depth=int:1:9`, `rate=float:0.001:1:log`, `kind=choice:a,b`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from maestro.core.errors import BadInput

_REMEDY = "write name=int:LOW:HIGH, name=float:LOW:HIGH (each with :log for a logarithmic range) or name=choice:A,B"


def dimensions_of(texts: Sequence[str] | None) -> dict[str, dict[str, Any]] | None:
    """Ranges by parameter; None when none is given. The ranges themselves are checked by the study.

    Raises:
        BadInput: a text cannot be read, or names a parameter twice.

    >>> dimensions_of(["depth=int:1:9", "rate=float:0.001:1:log", "kind=choice:a,2"])["kind"]
    {'kind': 'choice', 'values': ['a', 2]}
    """
    found: dict[str, dict[str, Any]] = {}
    for text in texts or ():
        name, _, rest = text.partition("=")
        kind, _, given = rest.partition(":")
        low, _, more = given.partition(":")
        high, _, scale = more.partition(":")
        if kind == "choice" and name and given:
            read: dict[str, Any] = {"kind": kind, "values": [_value(item) for item in given.split(",")]}
        elif kind in {"int", "float"} and name and low and high and scale in {"", "log"}:
            read = {"kind": kind, "low": _value(low), "high": _value(high), "log": scale == "log"}
        else:
            raise BadInput(f"--dimension {text!r} cannot be read", field="--dimension", remedy=_REMEDY)
        if name in found:
            raise BadInput(f"--dimension {name!r} is given twice", field="--dimension", remedy="give it once")
        found[name] = read
    return found or None


def _value(text: str) -> Any:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return text
    return value if isinstance(value, int | float) and not isinstance(value, bool) else text
