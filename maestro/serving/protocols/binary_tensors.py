"""Tensors as bytes after the JSON of a request or an answer.

Source: https://docs.nvidia.com/deeplearning/triton-inference-server/user-guide/docs/protocol/extension_binary_data.html. Numbers are little-endian in row-major
order; an element of BYTES is four bytes of length and then itself, which must be UTF-8 here; BOOL is one byte.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maestro.core.errors import BadInput

DTYPES: dict[str, Any] = {
    "UINT8": "<u1", "UINT16": "<u2", "UINT32": "<u4", "UINT64": "<u8",
    "INT8": "<i1", "INT16": "<i2", "INT32": "<i4", "INT64": "<i8",
    "FP16": "<f2", "FP32": "<f4", "FP64": "<f8", "BOOL": "?",
}  # fmt: skip


def numbers(data: memoryview, datatype: str, shape: list[int], where: str) -> NDArray[Any]:
    """A tensor of numbers over the very bytes that were sent.

    Raises:
        BadInput: the bytes are not as many as the shape says.
    """
    dtype = np.dtype(DTYPES[datatype])
    count = math.prod(shape)
    if len(data) != count * dtype.itemsize:
        raise BadInput(
            f"{where}: shape {shape[:8]} of {datatype} takes {count * dtype.itemsize} bytes, {len(data)} were sent",
            field=f"{where}.parameters.binary_data_size",
            remedy="send as many bytes as the shape says",
        )
    return np.frombuffer(data, dtype=dtype).reshape(shape)


def texts(data: memoryview, shape: list[int], where: str) -> list[str]:
    """The elements of a BYTES tensor.

    Raises:
        BadInput: they are not as many as the shape says, or not UTF-8.
    """
    found: list[str] = []
    start = 0
    try:
        while start < len(data):
            size = int.from_bytes(data[start : start + 4], "little")
            end = start + 4 + size
            if start + 4 > len(data) or end > len(data):
                raise ValueError("an element is cut off")
            found.append(str(data[start + 4 : end], "utf-8"))
            start = end
        if len(found) != math.prod(shape):
            raise ValueError(f"{len(found)} elements for shape {shape[:8]}")
    except ValueError as error:
        raise BadInput(
            f"{where}: {error}", field=where, remedy="send four bytes of length before each element"
        ) from None
    return found


def packed(output: dict[str, Any]) -> bytes:
    """The bytes of an output's `data`, by its datatype."""
    if output["datatype"] == "BYTES":
        encoded = [str(value).encode() for value in output["data"]]
        return b"".join(len(value).to_bytes(4, "little") + value for value in encoded)
    return np.asarray(output["data"], dtype=DTYPES[output["datatype"]]).tobytes()
