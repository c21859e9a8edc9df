"""What stands before the trees of a pipeline: each column followed through imputation, scaling and encoding, exactly as scikit-learn does it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from maestro.serving.runtimes.encoding import Categories, Encoding, Unknown, Use


class NotForest(Exception):
    """The model is no forest that can be walked exactly; the text says why."""


@dataclass(frozen=True)
class Column:
    """One column on its way: the feature that it comes from, whether that is text, what is made of it, and the steps after that."""

    feature: int
    is_text: bool = False
    use: Use = "number"
    category: int = 0
    categories: Categories | None = None
    steps: tuple[tuple[str, float], ...] = ()

    def then(self, name: str, value: float) -> Column:
        """The column after one more step."""
        return replace(self, steps=(*self.steps, (name, float(value))))


def features_of(types: Sequence[str]) -> list[Column]:
    """The columns of a contract."""
    return [Column(feature, kind == "string") for feature, kind in enumerate(types)]


def split(model: Any, columns: list[Column]) -> tuple[list[Column], Any]:
    """The columns that reach the last estimator, and that estimator.

    Raises:
        NotForest: something before it is not known exactly.
    """
    while type(model).__name__ == "Pipeline":
        *before, (_, last) = model.steps
        for _, step in before:
            columns = _through(step, columns)
        model = last
    texts = [column for column in columns if column.is_text and column.use == "number"]
    if texts:
        raise NotForest("it takes texts as they are")
    return columns, model


def encoding_of(columns: Sequence[Column]) -> Encoding:
    """How the columns are made."""
    categories = {column.feature: column.categories for column in columns if column.categories is not None}
    return Encoding([(column.feature, column.use, column.category) for column in columns], categories)


def _through(step: Any, columns: list[Column]) -> list[Column]:
    kind = type(step).__name__
    if step is None or step == "passthrough":
        return columns
    match kind:
        case "Pipeline":
            for _, inner in step.steps:
                columns = _through(inner, columns)
            return columns
        case "ColumnTransformer":
            found: list[Column] = []
            for name, inner, _ in step.transformers_:
                if inner != "drop":
                    chosen = [columns[place] for place in step._transformer_to_input_indices[name]]
                    found += _through(inner, chosen) if chosen else []
            return found
        case "FunctionTransformer" if step.func is None:
            return columns
        case "SimpleImputer":
            return _imputed(step, columns)
        case "OneHotEncoder" | "OrdinalEncoder":
            return [made for place, column in enumerate(columns) for made in _encoded(step, place, column)]
        case _:
            return _scaled(step, kind, columns)


def _imputed(step: Any, columns: list[Column]) -> list[Column]:
    if step.add_indicator or not (isinstance(step.missing_values, float) and np.isnan(step.missing_values)):
        raise NotForest("SimpleImputer marks what was missing, or replaces what is not")
    if all(column.is_text for column in columns):
        return columns  # a missing text comes as None, which it leaves
    fill = np.asarray(step.statistics_, dtype=np.float64)
    if len(fill) != len(columns) or not np.isfinite(fill).all():
        raise NotForest("SimpleImputer drops columns")
    return [column.then("fill", value) for column, value in zip(columns, fill.tolist(), strict=True)]


def _scaled(step: Any, kind: str, columns: list[Column]) -> list[Column]:
    done: list[tuple[str, Any]]
    match kind:
        case "StandardScaler":
            done = [("subtract", step.mean_ if step.with_mean else None), ("divide", step.scale_)]
        case "RobustScaler":
            done = [
                ("subtract", step.center_ if step.with_centering else None),
                ("divide", step.scale_ if step.with_scaling else None),
            ]
        case "MinMaxScaler" if not step.clip:
            done = [("multiply", step.scale_), ("add", step.min_)]
        case "MaxAbsScaler":
            done = [("divide", step.scale_)]
        case _:
            raise NotForest(
                f"step {kind} is more than an imputation, a scaling or an encoding of each column by itself"
            )
    for name, values in done:
        if values is not None:
            columns = [column.then(name, value) for column, value in zip(columns, values.tolist(), strict=True)]
    return columns


def _encoded(step: Any, place: int, column: Column) -> list[Column]:
    if column.use != "number" or column.steps:
        raise NotForest(f"{type(step).__name__} encodes what was changed before")
    values = step.categories_[place].tolist()
    if getattr(step, "_infrequent_enabled", False):
        raise NotForest(f"{type(step).__name__} groups rare categories")
    if not (all(isinstance(value, str) for value in values) if column.is_text else all(map(_is_number, values))):
        raise NotForest(f"{type(step).__name__} knows categories of several kinds")
    unknown: Unknown = "refuse"
    if type(step).__name__ == "OrdinalEncoder":
        if step.handle_unknown == "use_encoded_value":
            unknown = float(step.unknown_value)
        return [replace(column, use="code", categories=Categories(tuple(values), unknown))]
    if step.handle_unknown == "ignore":
        unknown = "zeros"
    elif step.handle_unknown != "error":
        raise NotForest(f"OneHotEncoder takes unknown categories by {step.handle_unknown}")
    dropped = None if step.drop_idx_ is None else step.drop_idx_[place]
    known = Categories(tuple(values), unknown)
    return [
        replace(column, use="is", category=category, categories=known)
        for category in range(len(values))
        if dropped is None or category != dropped
    ]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value == value
