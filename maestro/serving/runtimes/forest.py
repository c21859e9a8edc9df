"""A forest of binary trees as plain arrays, which is how a tree model leaves the process that deserialised it.

The bytes come from a process that may have run a model's code, so nothing about them is believed: every index is checked before C follows it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from maestro.core.errors import BadInput
from maestro.serving.runtimes.encoding import Encoding, read

FILE = "forest.msgpack"
STEPS = ("nothing", "fill", "subtract", "divide", "multiply", "add", "flush")
"""What is done to a column before the trees; `fill` replaces a missing value, `flush` makes zero of what is no larger."""
LINKS = ("plain", "mean", "sigmoid", "softmax", "exponent")
"""What is done to the sums after the trees."""
RULES = ("highest", "above zero", "not below zero")
"""Which class it is: the first with the highest score, or the second of two when the sum is so."""
MAX_DEPTH = 4096
_ARRAYS: dict[str, tuple[str, int]] = {
    "threshold": ("f", 1),
    "feature": ("i", 1),
    "missing_right": ("u", 1),
    "left": ("i", 1),
    "payload": ("i", 1),
    "roots": ("i", 1),
    "depths": ("i", 1),
    "columns": ("i", 1),
    "leaves": ("f", 2),
    "start": ("f", 1),
    "step_kinds": ("i", 2),
    "step_values": ("f", 2),
}


@dataclass(frozen=True)
class Forest:
    """Trees over `features` columns, which `encoding` makes of a contract's features; each adds a leaf's `width` values to the sums from its column on.

    A node goes right when its feature is above the threshold (`threshold` is float32 when the library compares in single precision), or is
    missing and `missing_right` says so; the right child stands after the left. A leaf is its own left child, and its payload is a row of `leaves`.

    Args:
        narrow_sum: sums are rounded to single precision after every tree, as XGBoost does.
        bounded: a value beyond single precision is an error, as in scikit-learn.
        link: one of LINKS.
        rule: one of RULES.
        step_kinds, step_values: what is done to each column first (steps × columns): a place in STEPS, and by what.
    """

    features: int
    threshold: NDArray[Any]
    feature: NDArray[np.int32]
    missing_right: NDArray[np.uint8]
    left: NDArray[np.int32]
    payload: NDArray[np.int32]
    roots: NDArray[np.int32]
    depths: NDArray[np.int32]
    columns: NDArray[np.int32]
    leaves: NDArray[np.float64]
    start: NDArray[np.float64]
    step_kinds: NDArray[np.int32]
    step_values: NDArray[np.float64]
    encoding: Encoding
    link: str = "plain"
    rule: str = "highest"
    narrow_sum: bool = False
    bounded: bool = False

    @property
    def outputs(self) -> int:
        """Numbers that a row gets: classes, or 1."""
        return 2 if self.link == "sigmoid" else len(self.start)

    def nodes(self) -> NDArray[Any]:
        """The nodes as C reads them."""
        kind = self.threshold.dtype
        nodes = np.empty(len(self.left), dtype=[("threshold", kind), ("feature", "<u4"), ("left", "<i4")])
        nodes["threshold"] = self.threshold
        nodes["feature"] = self.feature.astype(np.uint32) | (self.missing_right.astype(np.uint32) << np.uint32(31))
        nodes["left"] = self.left
        return nodes

    def boundaries(self) -> dict[int, NDArray[np.float64]]:
        """By feature of the contract, raw values at which an answer may change: thresholds and their neighbours, taken back through the steps.

        Where the library compares in single precision, also the neighbours of the double that is rounded to a threshold, and to the next number above it.
        """
        inner = self.left != np.arange(len(self.left))
        found: dict[int, list[NDArray[np.float64]]] = {}
        with np.errstate(all="ignore"):
            for column in np.unique(self.feature[inner]).tolist():
                feature, use, _ = self.encoding.columns[column]
                if use != "number":
                    continue
                thresholds = np.unique(self.threshold[inner & (self.feature == column)])
                thresholds = thresholds[
                    np.isfinite(thresholds)
                ]  # scikit-learn splits what is missing from the rest at infinity
                values = thresholds.astype(np.float64)
                if thresholds.dtype == np.float32:
                    above = np.nextafter(thresholds, np.float32(np.inf)).astype(np.float64)
                    values = np.concatenate([values, above, (values + above) / 2])
                values = self._undone(values, column)
                values = np.concatenate([values, np.nextafter(values, np.inf), np.nextafter(values, -np.inf)])
                found.setdefault(feature, []).append(values[np.isfinite(values)])
        return {feature: np.concatenate(values) for feature, values in found.items()}

    def _undone(self, values: NDArray[np.float64], column: int) -> NDArray[np.float64]:
        """What a column's steps make `values` of, about."""
        for kind, by in zip(
            self.step_kinds[::-1, column].tolist(), self.step_values[::-1, column].tolist(), strict=True
        ):
            match STEPS[kind]:
                case "subtract":
                    values = values + by
                case "divide":
                    values = values * by
                case "multiply":
                    values = values / by
                case "add":
                    values = values - by
        return values

    def encode(self) -> bytes:
        """As bytes; `decode` reads them."""
        arrays = {name: _packed(getattr(self, name)) for name in _ARRAYS}
        plain = {name: getattr(self, name) for name in ("features", "link", "rule", "narrow_sum", "bounded")}
        return msgspec.msgpack.encode(plain | arrays | {"encoding": self.encoding.document()})


def decode(data: bytes, features: int) -> Forest:
    """A forest that is safe to walk.

    Args:
        features: columns that the contract has.

    Raises:
        BadInput: it is not one, or is not over so many features.
    """
    try:
        raw = msgspec.msgpack.decode(data)
        arrays = {name: _unpacked(raw[name], kind, dimensions) for name, (kind, dimensions) in _ARRAYS.items()}
        forest = Forest(
            features=int(raw["features"]),
            encoding=read(raw["encoding"], features),
            link=str(raw["link"]),
            rule=str(raw["rule"]),
            narrow_sum=bool(raw["narrow_sum"]),
            bounded=bool(raw["bounded"]),
            **arrays,
        )
    except (msgspec.DecodeError, KeyError, TypeError, ValueError, IndexError) as error:
        raise _wrong(f"cannot be read: {type(error).__name__}: {error}") from None
    _check(forest, features)
    return forest


def _check(forest: Forest, features: int) -> None:
    count = len(forest.left)
    places = np.arange(count)
    is_leaf = forest.left == places
    narrow = forest.threshold.dtype == np.float32
    rules = {
        "its columns are not those that are encoded": forest.features == len(forest.encoding.columns) > 0,
        "its node arrays differ in length": {
            len(forest.threshold), len(forest.feature), len(forest.missing_right), len(forest.payload)
        } == {count},
        "its tree arrays differ in length": len(forest.roots) == len(forest.depths) == len(forest.columns) > 0,
        "it has no node": count > 0,
        "its arrays have the wrong types": all(
            array.dtype == np.int32
            for array in (
                forest.feature, forest.left, forest.payload, forest.roots, forest.depths, forest.columns, forest.step_kinds
            )
        )
        and (narrow or forest.threshold.dtype == np.float64)
        and forest.missing_right.dtype == np.uint8
        and all(array.dtype == np.float64 for array in (forest.leaves, forest.start, forest.step_values)),
        "its link or rule is unknown": forest.link in LINKS and forest.rule in RULES,
        "its steps lack values": forest.step_kinds.shape == forest.step_values.shape
        and forest.step_kinds.shape[1] == forest.features,
    }  # fmt: skip
    for problem, holds in rules.items():
        if not holds:
            raise _wrong(problem)
    width = forest.leaves.shape[1]
    ranges = {
        "a child": _within(forest.left[~is_leaf], 0, count - 1),
        "a feature": _within(forest.feature, 0, forest.features),
        "a step": _within(forest.step_kinds, 0, len(STEPS)),
        "a leaf": _within(forest.payload, 0, len(forest.leaves)),
        "a root": _within(forest.roots, 0, count),
        "a depth": _within(forest.depths, 0, MAX_DEPTH),
        "a column": width > 0 and _within(forest.columns, 0, len(forest.start) - width + 1),
        "a missing direction": _within(forest.missing_right, 0, 2),
    }
    for what, holds in ranges.items():
        if not holds:
            raise _wrong(f"{what} is out of range")
    if not (np.isposinf(forest.threshold[is_leaf]).all() and not forest.missing_right[is_leaf].any()):
        raise _wrong("a leaf does not stay where it is")
    if (forest.link == "sigmoid" or forest.rule != "highest") and len(forest.start) != 1:
        raise _wrong("a sigmoid, or a rule on the sum, takes one sum")


def _within(values: NDArray[Any], low: int, high: int) -> bool:
    return values.size == 0 or (int(values.min()) >= low and int(values.max()) < high)


def _packed(array: NDArray[Any]) -> list[Any]:
    little = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
    return [little.dtype.str, list(little.shape), little.tobytes()]


def _unpacked(packed: list[Any], kind: str, dimensions: int) -> NDArray[Any]:
    name, shape, data = packed
    if name not in ("<f4", "<f8", "<i4", "|u1") or np.dtype(name).kind != kind or len(shape) != dimensions:
        raise ValueError(f"an array of {name!r} with shape {shape!r}")
    return np.frombuffer(data, dtype=name).reshape([int(size) for size in shape])


def _wrong(problem: str) -> BadInput:
    return BadInput(f"{FILE}: {problem}", field=FILE, remedy="prepare the version again")
