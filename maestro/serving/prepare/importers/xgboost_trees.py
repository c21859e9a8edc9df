"""XGBoost's trees, read from its documented JSON form: compared and summed in single precision, as XGBoost does."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maestro.serving.prepare.importers._base import Sum, Tree, assemble
from maestro.serving.prepare.importers.columns import Column, NotForest
from maestro.serving.runtimes.forest import Forest

_LINKS = {
    "binary:logistic": "sigmoid",
    "multi:softprob": "softmax",
    "multi:softmax": "softmax",
    "reg:squarederror": "plain",
    "reg:absoluteerror": "plain",
    "count:poisson": "exponent",
    "reg:gamma": "exponent",
    "reg:tweedie": "exponent",
}


def forest_of(model: Any, columns: Sequence[Column]) -> Forest:
    """The forest in a fitted XGBoost estimator or booster.

    Raises:
        NotForest: it holds something that is not walked exactly.
    """
    booster = model.get_booster() if hasattr(model, "get_booster") else model
    if hasattr(model, "get_booster") and getattr(booster, "best_iteration", None) is not None:
        with contextlib.suppress(AttributeError):  # it was not stopped early
            booster = booster[: int(model.best_iteration) + 1]
    learner = json.loads(bytes(booster.save_raw(raw_format="json")))["learner"]
    objective = learner["objective"]["name"]
    link = _LINKS.get(objective)
    gradient = learner["gradient_booster"]
    if link is None:
        raise NotForest(f"its objective is {objective}")
    if gradient["name"] != "gbtree":
        raise NotForest(f"its booster is {gradient['name']}")
    if objective == "binary:logistic" and not hasattr(model, "get_booster"):
        raise NotForest("a bare booster answers probabilities, not classes")
    if int(learner["learner_model_param"]["num_feature"]) != len(columns):
        raise NotForest("it has another number of features")
    groups = max(int(learner["learner_model_param"]["num_class"]), 1)
    trees = [
        _tree(tree, int(column))
        for tree, column in zip(gradient["model"]["trees"], gradient["model"]["tree_info"], strict=True)
    ]
    start = _margin(learner["learner_model_param"]["base_score"], objective, groups)
    return assemble(trees, columns, Sum(start, link, narrow=True, narrow_sum=True, bounded=True))


def _tree(tree: dict[str, Any], column: int) -> Tree:
    if any(tree.get("split_type", [])) or int(tree["tree_param"].get("size_leaf_vector", "1")) > 1:
        raise NotForest("it splits on categories, or a leaf holds several values")
    left = np.array(tree["left_children"], dtype=np.int64)
    conditions = np.array(tree["split_conditions"], dtype=np.float32)
    # left is x < condition, so right is x above the number just below it; what a leaf adds stands among the conditions
    below = np.nextafter(conditions, np.float32(-np.inf)).astype(np.float64)
    return Tree(
        left,
        np.array(tree["right_children"], dtype=np.int64),
        np.array(tree["split_indices"], dtype=np.int64),
        below,
        1 - np.array(tree["default_left"], dtype=np.int64),
        conditions.astype(np.float64).reshape(-1, 1),
        column,
    )


def _margin(text: str, objective: str, groups: int) -> NDArray[np.float64]:
    given = np.array(json.loads(text) if text.startswith("[") else [float(text)], dtype=np.float32)
    if objective == "binary:logistic":
        given = -np.log(np.float32(1.0) / given - np.float32(1.0))
    elif _LINKS[objective] == "exponent":
        given = np.log(given)
    return np.broadcast_to(given.astype(np.float64), (groups,)).copy()
