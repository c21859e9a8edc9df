"""Arrow arrays made from their buffers: the convenient constructors import pandas wherever it is installed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray


def texts(pa: Any, values: Sequence[str | None]) -> Any:
    """Text, None where there is none."""
    encoded = [b"" if value is None else value.encode("utf-8", "replace") for value in values]
    offsets = _offsets([len(value) for value in encoded])
    buffers = [_validity(pa, values), pa.py_buffer(offsets), pa.py_buffer(b"".join(encoded))]
    return pa.Array.from_buffers(pa.string(), len(values), buffers)


def numbers(pa: Any, values: Sequence[float | None]) -> Any:
    """Float64, None where there is none."""
    flat = np.array([0.0 if value is None else value for value in values], dtype="<f8")
    return pa.Array.from_buffers(pa.float64(), len(values), [_validity(pa, values), pa.py_buffer(flat)])


def wholes(pa: Any, values: Sequence[int]) -> Any:
    """Int64."""
    return pa.Array.from_buffers(pa.int64(), len(values), [None, pa.py_buffer(np.array(values, dtype="<i8"))])


def truths(pa: Any, values: Sequence[bool]) -> Any:
    """Booleans."""
    bits = np.packbits(np.array(values, dtype=bool), bitorder="little")
    return pa.Array.from_buffers(pa.bool_(), len(values), [None, pa.py_buffer(bits)])


def vectors(pa: Any, values: Sequence[Sequence[float] | None]) -> Any:
    """Lists of float64, None where there is none."""
    flat = np.array([number for value in values for number in value or ()], dtype="<f8")
    offsets = _offsets([len(value or ()) for value in values])
    child = pa.Array.from_buffers(pa.float64(), len(flat), [None, pa.py_buffer(flat)])
    buffers = [_validity(pa, values), pa.py_buffer(offsets)]
    return pa.Array.from_buffers(pa.list_(pa.float64()), len(values), buffers, children=[child])


def _offsets(lengths: list[int]) -> NDArray[np.int32]:
    return np.concatenate([[0], np.cumsum(lengths)]).astype("<i4")


def _validity(pa: Any, values: Sequence[Any]) -> Any:
    if all(value is not None for value in values):
        return None
    return pa.py_buffer(np.packbits([value is not None for value in values], bitorder="little"))
