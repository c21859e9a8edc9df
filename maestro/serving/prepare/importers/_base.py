"""Trees in the form in which libraries tell them, put into arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maestro.serving.prepare.importers.columns import Column, NotForest, encoding_of
from maestro.serving.runtimes.forest import STEPS, Forest


@dataclass
class Tree:
    """One tree by node: `left` and `right` are -1 at a leaf.

    `threshold`: a node goes right when its feature is above it. `missing_right`: where a missing value goes. `value` (nodes × width): what a leaf adds.
    """

    left: NDArray[Any]
    right: NDArray[Any]
    feature: NDArray[Any]
    threshold: NDArray[Any]
    missing_right: NDArray[Any]
    value: NDArray[Any]
    column: int = 0


@dataclass
class Sum:
    """What surrounds the trees: see Forest."""

    start: NDArray[np.float64]
    link: str
    narrow: bool
    narrow_sum: bool = False
    bounded: bool = False
    rule: str = "highest"


def assemble(trees: list[Tree], columns: Sequence[Column], around: Sum) -> Forest:
    """A forest: nodes tree after tree, level by level, siblings side by side.

    Raises:
        NotForest: there is no tree.
    """
    if not trees:
        raise NotForest("it has no tree")
    thresholds, feature, missing, left, payload, leaves, roots, depths = [], [], [], [], [], [], [], []
    base = leaf_base = 0
    for tree in trees:
        order, place, depth = _level_order(tree)
        is_leaf = tree.left[order] < 0
        here = np.arange(len(order))
        children = np.where(is_leaf, here, place[np.where(is_leaf, 0, tree.left[order])])
        thresholds.append(np.where(is_leaf, np.inf, tree.threshold[order].astype(np.float64)))
        feature.append(np.where(is_leaf, 0, tree.feature[order]))
        missing.append(np.where(is_leaf, 0, tree.missing_right[order]))
        left.append(children + base)
        numbers = np.cumsum(is_leaf) - 1 + leaf_base
        payload.append(np.where(is_leaf, numbers, 0))
        leaves.append(tree.value[order][is_leaf])
        roots.append(base)
        depths.append(depth)
        base += len(order)
        leaf_base += int(is_leaf.sum())
    threshold = np.concatenate(thresholds)
    steps = max(len(column.steps) for column in columns)
    kinds = np.zeros((steps, len(columns)), dtype=np.int32)
    values = np.zeros((steps, len(columns)))
    for at, column in enumerate(columns):
        for step, (name, value) in enumerate(column.steps):
            kinds[step, at], values[step, at] = STEPS.index(name), value
    return Forest(
        features=len(columns),
        threshold=floor_single(threshold) if around.narrow else threshold,
        feature=np.concatenate(feature).astype(np.int32),
        missing_right=np.concatenate(missing).astype(np.uint8),
        left=np.concatenate(left).astype(np.int32),
        payload=np.concatenate(payload).astype(np.int32),
        roots=np.array(roots, dtype=np.int32),
        depths=np.array(depths, dtype=np.int32),
        columns=np.array([tree.column for tree in trees], dtype=np.int32),
        leaves=np.concatenate(leaves).astype(np.float64),
        start=np.asarray(around.start, dtype=np.float64).reshape(-1),
        step_kinds=kinds,
        step_values=values,
        encoding=encoding_of(columns),
        link=around.link,
        rule=around.rule,
        narrow_sum=around.narrow_sum,
        bounded=around.bounded,
    )


def floor_single(values: NDArray[np.float64]) -> NDArray[np.float32]:
    """The largest single-precision numbers not above `values`: for a single-precision x, x > v exactly when x > floor(v).

    >>> float(floor_single(np.array([0.1]))[0]) <= 0.1
    True
    """
    with np.errstate(over="ignore"):
        rounded = values.astype(np.float32)
        below = np.nextafter(rounded, np.float32(-np.inf))
    return np.where(rounded.astype(np.float64) > values, below, rounded).astype(np.float32)


def _level_order(tree: Tree) -> tuple[NDArray[np.intp], NDArray[np.intp], int]:
    """Nodes in level order with siblings side by side, each node's place in it, and the tree's depth."""
    level = np.array([0], dtype=np.intp)
    levels = []
    while len(level):
        levels.append(level)
        inner = level[tree.left[level] >= 0]
        level = np.column_stack([tree.left[inner], tree.right[inner]]).reshape(-1).astype(np.intp)
    order = np.concatenate(levels)
    place = np.zeros(len(tree.left), dtype=np.intp)
    place[order] = np.arange(len(order))
    return order, place, len(levels) - 1
