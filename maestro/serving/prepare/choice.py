"""Which path answers a batch of which size."""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt

from maestro.serving.runtimes.cost import Costs
from maestro.serving.runtimes.plan import Choice, ProvenPath

WORTHWHILE = 0.8
"""A second path is loaded beside the first only where it takes at most this share of the first's time at some size."""


def choose(paths: Sequence[ProvenPath], sizes: Sequence[int]) -> tuple[Choice, ...]:
    """The path that is fastest at each measured size; from one to the next at their geometric mean.

    >>> fast = ProvenPath(name="trees", origin="", files=(), us={1: 5.0, 256: 900.0}, largest_difference=0.0)
    >>> wide = ProvenPath(name="onnx", origin="", files=(), us={1: 9.0, 256: 300.0}, largest_difference=0.0)
    >>> [(choice.rows, choice.path) for choice in choose([fast, wide], (1, 256))]
    [(1, 'trees'), (16, 'onnx')]
    """
    if not paths:
        return ()
    costs = {path.name: Costs(path.us) for path in paths}
    best = min(paths, key=lambda path: sum(costs[path.name].of(size) / min(c.of(size) for c in costs.values()) for size in sizes))  # fmt: skip
    chosen: list[Choice] = []
    before = 1
    for size in sizes:
        fastest = min(paths, key=lambda path: costs[path.name].of(size))
        gain = costs[fastest.name].of(size) <= WORTHWHILE * costs[best.name].of(size)
        name = fastest.name if gain else best.name
        if not chosen or chosen[-1].path != name:
            chosen.append(Choice(rows=1 if not chosen else max(round(sqrt(before * size)), before + 1), path=name))
        before = size
    return tuple(chosen)
