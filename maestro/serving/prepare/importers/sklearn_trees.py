"""scikit-learn's decision trees, forests and boosting, bit for bit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maestro.serving.prepare.importers._base import Sum, Tree, assemble
from maestro.serving.prepare.importers.columns import Column, NotForest
from maestro.serving.runtimes.forest import Forest


def forest_of(model: Any, columns: Sequence[Column]) -> Forest:
    """The forest in a fitted estimator over these columns.

    Raises:
        NotForest: it holds something that is not walked exactly.
    """
    kind = type(model).__name__
    match kind:
        case "DecisionTreeClassifier" | "ExtraTreeClassifier" | "DecisionTreeRegressor" | "ExtraTreeRegressor":
            trees, around = _averaged([model], model)
        case "RandomForestClassifier" | "ExtraTreesClassifier" | "RandomForestRegressor" | "ExtraTreesRegressor":
            trees, around = _averaged(list(model.estimators_), model)
        case "GradientBoostingClassifier" | "GradientBoostingRegressor":
            trees, around = _boosted(model, len(columns))
        case "HistGradientBoostingClassifier" | "HistGradientBoostingRegressor":
            trees, around = _histogram(model)
        case _:
            raise NotForest(f"{kind} is not made of trees that are walked exactly")
    return assemble(trees, columns, around)


def _averaged(estimators: list[Any], whole: Any) -> tuple[list[Tree], Sum]:
    if whole.n_outputs_ != 1:
        raise NotForest("it has several outputs")
    width = int(whole.n_classes_) if hasattr(whole, "n_classes_") else 1
    trees = [_tree(estimator.tree_, estimator.tree_.value[:, 0, :width]) for estimator in estimators]
    return trees, Sum(np.zeros(width), "mean", narrow=True, bounded=True)


def _tree(tree: Any, value: NDArray[np.float64], column: int = 0) -> Tree:
    missing = getattr(tree, "missing_go_to_left", np.zeros(tree.node_count, dtype=np.uint8))
    return Tree(
        tree.children_left, tree.children_right, tree.feature, tree.threshold, 1 - missing.astype(np.int64), value, column
    )  # fmt: skip


def _boosted(model: Any, features: int) -> tuple[list[Tree], Sum]:
    if model.init is not None and not (isinstance(model.init, str) and model.init == "zero"):
        raise NotForest("its first guess is a model of its own")
    start = np.asarray(model._raw_predict_init(np.zeros((1, features), dtype=np.float32)), dtype=np.float64)[0]
    trees = [
        _tree(estimator.tree_, model.learning_rate * estimator.tree_.value[:, 0, :1], column)
        for stage in model.estimators_
        for column, estimator in enumerate(stage)
    ]
    if not hasattr(model, "classes_"):
        return trees, Sum(start, "plain", narrow=True, bounded=True)
    if model.loss != "log_loss":
        raise NotForest(f"its loss is {model.loss}")
    if len(start) == 1:
        return trees, Sum(start, "sigmoid", narrow=True, bounded=True, rule="not below zero")
    return trees, Sum(start, "softmax", narrow=True, bounded=True)


def _histogram(model: Any) -> tuple[list[Tree], Sum]:
    if getattr(model, "is_categorical_", None) is not None and np.any(model.is_categorical_):
        raise NotForest("it splits on categories")
    if getattr(model, "_preprocessor", None) is not None:
        raise NotForest("it encodes categories")
    trees = []
    for stage in model._predictors:
        for column, predictor in enumerate(stage):
            nodes = predictor.nodes
            is_leaf = nodes["is_leaf"].astype(bool)
            left = np.where(is_leaf, -1, nodes["left"].astype(np.int64))
            right = np.where(is_leaf, -1, nodes["right"].astype(np.int64))
            missing = 1 - nodes["missing_go_to_left"].astype(np.int64)
            value = nodes["value"].astype(np.float64).reshape(-1, 1)
            trees.append(Tree(left, right, nodes["feature_idx"], nodes["num_threshold"], missing, value, column))
    start = np.asarray(model._baseline_prediction, dtype=np.float64).reshape(-1)
    if not hasattr(model, "classes_"):
        link = {"squared_error": "plain", "absolute_error": "plain", "quantile": "plain", "poisson": "exponent"}.get(
            model.loss
        )
        if link is None:
            raise NotForest(f"its loss is {model.loss}")
        return trees, Sum(start, link, narrow=False)
    if len(start) == 1:
        return trees, Sum(start, "sigmoid", narrow=False, rule="above zero")
    return trees, Sum(start, "softmax", narrow=False)
