"""LightGBM's trees, read from its dump: compared and summed in double precision, as LightGBM does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from maestro.serving.prepare.importers._base import Sum, Tree, assemble
from maestro.serving.prepare.importers.columns import Column, NotForest
from maestro.serving.runtimes.forest import Forest

_LINKS = {
    "binary": "sigmoid",
    "multiclass": "softmax",
    "regression": "plain",
    "regression_l1": "plain",
    "huber": "plain",
}
_ZERO = float(np.float32(1e-35))
"""LightGBM takes values no larger than this for zero."""


def forest_of(model: Any, columns: Sequence[Column]) -> Forest:
    """The forest in a fitted LightGBM estimator or booster.

    Raises:
        NotForest: it holds something that is not walked exactly.
    """
    booster = getattr(model, "booster_", model)
    dump = booster.dump_model()
    objective, *options = str(dump.get("objective", "")).split()
    link = _LINKS.get(objective)
    if link is None:
        raise NotForest(f"its objective is {objective or 'its own'}")
    if "sqrt" in options or (objective == "binary" and "sigmoid:1" not in options):
        raise NotForest(f"its objective is {dump['objective']}")
    if objective == "binary" and booster is model:
        raise NotForest("a bare booster answers probabilities, not classes")
    if dump.get("average_output"):
        raise NotForest("its trees are averaged")
    if int(dump["max_feature_idx"]) + 1 != len(columns):
        raise NotForest("it has another number of features")
    sums = int(dump["num_tree_per_iteration"])
    best = getattr(booster, "best_iteration", -1)
    infos = dump["tree_info"][: best * sums] if best and best > 0 else dump["tree_info"]
    trees = [_tree(info["tree_structure"], number % sums) for number, info in enumerate(infos)]
    around = Sum(np.zeros(sums), link, narrow=False)
    return assemble(trees, [column.then("flush", _ZERO) for column in columns], around)


def _tree(root: dict[str, Any], column: int) -> Tree:
    rows: list[tuple[int, int, int, float, int, float]] = []
    waiting: list[tuple[dict[str, Any], int]] = [(root, -1)]
    links: dict[int, list[int]] = {}
    while waiting:
        node, parent = waiting.pop()
        place = len(rows)
        if parent >= 0:
            links.setdefault(parent, []).append(place)
        if "split_index" not in node:
            if "leaf_coeff" in node:
                raise NotForest("its leaves are linear models")
            rows.append((-1, -1, 0, 0.0, 0, float(node["leaf_value"])))
            continue
        if node["decision_type"] != "<=":
            raise NotForest("it splits on categories")
        if node["missing_type"] == "Zero":
            raise NotForest("it takes zero for missing")
        threshold = float(node["threshold"])
        # where nothing was missing in training, a missing value counts as zero
        right = not node["default_left"] if node["missing_type"] == "NaN" else threshold < 0.0
        rows.append((0, 0, int(node["split_feature"]), threshold, int(right), 0.0))
        waiting += [(node["right_child"], place), (node["left_child"], place)]
    left = np.array([-1 if row[0] < 0 else links[place][0] for place, row in enumerate(rows)], dtype=np.int64)
    right_child = np.array([-1 if row[0] < 0 else links[place][1] for place, row in enumerate(rows)], dtype=np.int64)
    return Tree(
        left,
        right_child,
        np.array([row[2] for row in rows], dtype=np.int64),
        np.array([row[3] for row in rows]),
        np.array([row[4] for row in rows], dtype=np.int64),
        np.array([row[5] for row in rows]).reshape(-1, 1),
        column,
    )
