"""The metrics that a PromQL expression names: a tokenizer, since what is wanted are names and not values."""

from __future__ import annotations

import re
from collections.abc import Iterator

_TOKEN = re.compile(
    r"""(?P<string>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')|(?P<duration>\[[^\]]*\])|(?P<number>\d[\d.eE+]*(?:ms|[smhdwy])?)"""
    r"""|(?P<name>[a-zA-Z_:][a-zA-Z0-9_:]*)|(?P<symbol>[{}(),])|(?P<other>\S)""",
    re.X,
)
_WORDS = {"and", "or", "unless", "bool", "offset", "inf", "nan", "atan2"}
_GROUPING = {"by", "without", "on", "ignoring", "group_left", "group_right"}


def metric_names(expression: str) -> set[str]:
    """The metrics of an expression.

    >>> sorted(metric_names('sum by (le) (rate(a_bucket{le="0.1"}[5m])) / on (x) group_left b > bool 0.5 or vector(1)'))
    ['a_bucket', 'b']
    """
    return set(_names(expression))


def _names(expression: str) -> Iterator[str]:
    tokens = [(match.lastgroup, match.group()) for match in _TOKEN.finditer(expression)]
    braces = 0
    skipping = 0
    for number, (kind, text) in enumerate(tokens):
        following = tokens[number + 1][1] if number + 1 < len(tokens) else ""
        if text == "{":
            braces += 1
        elif text == "}":
            braces -= 1
        elif skipping and text in "()":
            skipping = 0 if text == ")" else skipping
        elif kind == "name" and not braces and not skipping:
            if text in _GROUPING:
                skipping = 1 if following == "(" else 0
            elif text.lower() not in _WORDS and following != "(" and following not in _GROUPING:
                yield text
