"""From a fitted model to a forest, by the library that made it. Runs only where the model was deserialised: in its confined process."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from maestro.serving.prepare.importers import lightgbm_trees, sklearn_trees, xgboost_trees
from maestro.serving.prepare.importers.columns import NotForest, features_of, split
from maestro.serving.runtimes.forest import Forest

__all__ = ["NotForest", "forest_of"]


def forest_of(model: Any, types: Sequence[str]) -> Forest:
    """The forest in a fitted model over features of these types, when it is one that can be walked exactly.

    Raises:
        NotForest: it is not; the text says why.
    """
    columns, last = split(model, features_of(types))
    library = type(last).__module__.split(".")[0]
    match library:
        case "sklearn":
            return sklearn_trees.forest_of(last, columns)
        case "xgboost":
            return xgboost_trees.forest_of(last, columns)
        case "lightgbm":
            return lightgbm_trees.forest_of(last, columns)
        case _:
            raise NotForest(f"{library} makes no trees that are known here")
