"""scikit-learn's decision trees, forests and boosting, alone or after imputation and scaling, bit for bit."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from maestro.serving.prepare.importers._base import NotForest, Sum, Tree, assemble
from maestro.serving.runtimes.forest import Forest

Steps = list[tuple[str, NDArray[np.float64]]]


def forest_of(model: Any, features: int) -> Forest:
    """The forest in a fitted estimator or pipeline.

    Raises:
        NotForest: it holds something that is not walked exactly.
    """
    steps, last = split_pipeline(model, features)
    kind = type(last).__name__
    match kind:
        case "DecisionTreeClassifier" | "ExtraTreeClassifier" | "DecisionTreeRegressor" | "ExtraTreeRegressor":
            trees, around = _averaged([last], last)
        case "RandomForestClassifier" | "ExtraTreesClassifier" | "RandomForestRegressor" | "ExtraTreesRegressor":
            trees, around = _averaged(list(last.estimators_), last)
        case "GradientBoostingClassifier" | "GradientBoostingRegressor":
            trees, around = _boosted(last, features)
        case "HistGradientBoostingClassifier" | "HistGradientBoostingRegressor":
            trees, around = _histogram(last)
        case _:
            raise NotForest(f"{kind} is not made of trees that are walked exactly")
    around.steps = steps
    return assemble(trees, features, around)


def split_pipeline(model: Any, features: int) -> tuple[Steps, Any]:
    """What is done to each column before the last estimator, and that estimator.

    Raises:
        NotForest: a step is more than an imputation or a scaling of each column by itself.
    """
    steps: Steps = []
    while type(model).__name__ == "Pipeline":
        *before, (_, last) = model.steps
        for _, step in before:
            steps += _step(step, features)
        model = last
    return steps, model


def _step(step: Any, features: int) -> Steps:
    kind = type(step).__name__
    if step is None or step == "passthrough":
        return []
    if kind == "SimpleImputer":
        plain = isinstance(step.missing_values, float) and np.isnan(step.missing_values) and not step.add_indicator
        fill = np.asarray(step.statistics_, dtype=np.float64)
        if plain and len(fill) == features and np.isfinite(fill).all():
            return [("fill", fill)]
    elif kind == "StandardScaler":
        found: Steps = []
        if step.with_mean:
            found.append(("subtract", step.mean_))
        if step.with_std:
            found.append(("divide", step.scale_))
        return found
    elif kind == "MinMaxScaler" and not step.clip:
        return [("multiply", step.scale_), ("add", step.min_)]
    elif kind == "RobustScaler":
        found = []
        if step.with_centering:
            found.append(("subtract", step.center_))
        if step.with_scaling:
            found.append(("divide", step.scale_))
        return found
    elif kind == "MaxAbsScaler":
        return [("divide", step.scale_)]
    raise NotForest(f"step {kind} is more than an imputation or a scaling of each column by itself")


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
    link = "plain"
    if hasattr(model, "classes_"):
        if model.loss != "log_loss":
            raise NotForest(f"its loss is {model.loss}")
        link = "sigmoid" if len(start) == 1 else "softmax"
    return trees, Sum(start, link, narrow=True, bounded=True)


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
    return trees, Sum(start, "sigmoid" if len(start) == 1 else "softmax", narrow=False)
