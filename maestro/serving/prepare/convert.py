"""A fitted model as ONNX, in the variants that are worth trying. Runs only where the model was deserialised: in its confined process."""

from __future__ import annotations

import copy
import logging
from typing import Any, Literal, get_args

Variant = Literal["double", "double, single before trees", "single"]
"""The precision of the graph's inputs. Rounding to single precision before a scaler moves values across a tree's threshold; scikit-learn rounds between."""
VARIANTS: tuple[Variant, ...] = get_args(Variant)
_TREES = ("Tree", "Forest", "GradientBoosting")


class NotConvertible(Exception):
    """No converter is installed for the model, or the variant makes no sense for it."""


def convert(model: Any, names: list[str], types: list[str], variant: Variant) -> bytes:
    """The bytes of an ONNX model: one matrix input, or one input a column when there are text features.

    Raises:
        NotConvertible: there is no way known here.
    """
    logging.getLogger("skl2onnx").setLevel(logging.ERROR)
    library = type(model).__module__.split(".")[0]
    last = model.steps[-1][1] if hasattr(model, "steps") else model
    inner = type(last).__module__.split(".")[0]
    if variant == "double, single before trees":
        if inner != "sklearn" or not hasattr(model, "steps") or not any(word in type(last).__name__ for word in _TREES):
            raise NotConvertible("no scikit-learn trees after a step")
        model = _single_before_trees(model)
    if library in ("xgboost", "lightgbm"):
        return _boosted(model, library, len(names), variant)
    if library != "sklearn" or inner != "sklearn":
        raise NotConvertible(f"no converter for {library}{'' if inner == library else f' with {inner}'}")
    return _sklearn(model, names, types, variant)


def _sklearn(model: Any, names: list[str], types: list[str], variant: Variant) -> bytes:
    from skl2onnx import to_onnx
    from skl2onnx.common.data_types import DoubleTensorType, FloatTensorType, StringTensorType

    number = FloatTensorType if variant == "single" else DoubleTensorType
    if "string" in types:
        inputs = [
            (name, StringTensorType([None, 1]) if kind == "string" else number([None, 1]))
            for name, kind in zip(names, types, strict=True)
        ]
    else:
        inputs = [("rows", number([None, len(names)]))]
    options = {id(model): {"zipmap": False}} if hasattr(model, "predict_proba") else None
    content: bytes = to_onnx(model, initial_types=inputs, options=options).SerializeToString()
    return content


def _single_before_trees(model: Any) -> Any:
    from skl2onnx.sklapi import CastTransformer
    from sklearn.pipeline import Pipeline

    *before, (name, last) = copy.copy(model.steps)
    import numpy as np

    cast = CastTransformer(dtype=np.float32)
    width = int(last.n_features_in_)
    cast.fit(np.zeros((1, width)))
    return Pipeline([*before, ("single", cast), (name, last)])


def _boosted(model: Any, library: str, features: int, variant: Variant) -> bytes:
    if variant != "single":
        raise NotConvertible("boosted trees take single precision in ONNX")
    try:
        import onnxmltools
        from onnxmltools.convert.common.data_types import FloatTensorType
    except ModuleNotFoundError as error:
        raise NotConvertible(f"{error.name} is not installed") from None

    inputs = [("rows", FloatTensorType([None, features]))]
    content: bytes
    if library == "xgboost":
        content = onnxmltools.convert_xgboost(model, initial_types=inputs, target_opset=15).SerializeToString()
    else:
        content = onnxmltools.convert_lightgbm(
            model, initial_types=inputs, zipmap=False, target_opset=15
        ).SerializeToString()
    return content
