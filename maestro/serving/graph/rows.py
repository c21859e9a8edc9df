"""Rows of one request that went to several arms, put together again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from maestro.serving.graph._base import Answer
from maestro.serving.table import Prediction


def merged(groups: Sequence[Sequence[int]], parts: Sequence[Answer]) -> Answer:
    """One answer with every row in its place.

    Args:
        groups: the rows of each part.
    """
    values: list[Any] = [None] * sum(len(rows) for rows in groups)
    for rows, part in zip(groups, parts, strict=True):
        for row, value in zip(rows, part.prediction.values, strict=True):
            values[row] = value
    fallbacks = [part.fallback for part in parts if part.fallback]
    return Answer(
        Prediction(values),
        ",".join(dict.fromkeys(part.version for part in parts)),
        ",".join(part.arm for part in parts),
        ",".join(fallbacks) or None,
    )
