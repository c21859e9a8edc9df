"""Open Inference Protocol, version 2, over REST.

Source: https://github.com/kserve/open-inference-protocol/blob/main/specification/protocol/inference_rest.md. A request carries either one
two-dimensional tensor (rows × features, by position) or one tensor a feature (by name). Text members of `parameters` are values that a split
may stick to. Tensors may come and go as bytes after the JSON (`binary_tensors`). Errors carry the protocol's `error` beside the members of a
problem document, and rows at fault give 400.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar

import msgspec
import numpy as np

from maestro.core.contract import ModelContract
from maestro.core.errors import BadInput, MaestroError
from maestro.serving.dataplane import InferRequest, InferResult
from maestro.serving.protocols.adapter import BINARY, JSON, Asked, Hot, Render, Rendered, decode
from maestro.serving.protocols.binary_tensors import numbers, packed, texts
from maestro.serving.protocols.number_rows import NumberRows
from maestro.serving.protocols.rows import columns_of
from maestro.serving.table import Prediction, Table

NUMBERS = frozenset(["UINT8", "UINT16", "UINT32", "UINT64", "INT8", "INT16", "INT32", "INT64", "FP16", "FP32", "FP64"])
DATATYPES = NUMBERS | {"BOOL", "BYTES"}
FEATURE_DATATYPES = {"float64": "FP64", "int64": "INT64", "bool": "BOOL", "string": "BYTES"}
ANSWER, SCORES = "predict", "probabilities"


class _Tensor(msgspec.Struct):
    name: str
    shape: list[int]
    datatype: str
    data: list[Any] | None = None
    parameters: dict[str, Any] | None = None


class _Output(msgspec.Struct):
    name: str
    parameters: dict[str, Any] | None = None


class _Request(msgspec.Struct):
    inputs: list[_Tensor]
    id: str | None = None
    parameters: dict[str, Any] | None = None
    outputs: list[_Output] | None = None


class _NumberTensor(msgspec.Struct):
    name: str
    shape: tuple[int, int]
    datatype: str
    data: list[float]
    parameters: None = None


class _Numbers(msgspec.Struct):
    inputs: tuple[_NumberTensor]
    id: str | None = None
    parameters: None = None
    outputs: None = None


_decoder = msgspec.json.Decoder(_Request)
_numbers = msgspec.json.Decoder(_Numbers)
_encode = msgspec.json.Encoder().encode


class OpenInferenceAdapter:
    """`POST /v2/models/{model}[/versions/{version}]/infer`."""

    media_types: ClassVar[tuple[str, ...]] = (JSON, BINARY)

    def __init__(self, rows: NumberRows | None = None) -> None:
        self._rows = rows

    def hot(self, data: bytes, asked: Asked) -> Hot | None:
        """One two-dimensional tensor of numbers, in JSON or in bytes, with nothing asked of the outputs."""
        if "version" in asked.path:
            return None
        if asked.json_bytes is not None:
            return self._hot_binary(data, asked)
        taken = None if self._rows is None else self._rows.take(data, b'"data"', 1)
        try:
            sent = _numbers.decode(data if taken is None else taken[0])
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
            return None
        tensor = sent.inputs[0]
        rows, width = tensor.shape
        values = tensor.data if taken is None else taken[1]
        if tensor.datatype not in NUMBERS or rows < 1 or width < 1 or rows * width != len(values):
            return None
        identity = sent.id
        matrix = (
            [values] if isinstance(values, list) and rows == 1 else np.asarray(values, np.float64).reshape(rows, width)
        )
        return Hot(asked.path["model"], matrix, render=lambda result: _render(result, identity, None, False))

    def _hot_binary(self, data: bytes, asked: Asked) -> Hot | None:
        try:
            request, render = self.read(data, asked)
        except BadInput:
            return None
        if request.table is None or request.table.matrix is None or request.context:
            return None
        return Hot(request.model, request.table.matrix, render=render)

    def read(self, data: bytes, asked: Asked) -> tuple[InferRequest, Render]:
        """Tensors as a table."""
        size = len(data) if asked.json_bytes is None else asked.json_bytes
        if size > len(data):
            raise BadInput(
                f"the body has {len(data)} bytes, its JSON is said to have {size}",
                field="Inference-Header-Content-Length",
                remedy="send the bytes of JSON before the binary tensors",
            )
        sent: _Request = decode(data[:size], _decoder)
        table = _table(sent.inputs, memoryview(data)[size:])
        wanted = None if sent.outputs is None else {output.name: output.parameters or {} for output in sent.outputs}
        for name in wanted or ():
            if name not in (ANSWER, SCORES):
                raise BadInput(f"unknown output {name[:80]!r}", field="outputs", remedy=f"ask for {ANSWER} or {SCORES}")
        context = dict(asked.context)
        context |= {
            name: str(value)
            for name, value in (sent.parameters or {}).items()
            if isinstance(value, str | int) and not isinstance(value, bool)
        }
        request = InferRequest(asked.path["model"], table, None, context, asked.path.get("version"))
        binary = (sent.parameters or {}).get("binary_data_output") is True
        return request, lambda result: _render(result, sent.id, wanted, binary)

    def problem(self, error: MaestroError) -> tuple[int, dict[str, Any]]:
        """With the protocol's own member, and 400 for rows at fault."""
        status = 400 if error.status == 422 else error.status
        return status, error.problem() | {"status": status, "error": error.detail}


def metadata_inputs(contract: ModelContract | None) -> list[dict[str, Any]]:
    """A contract's features as metadata tensors."""
    if contract is None:
        return []
    return [
        {"name": feature.name, "datatype": FEATURE_DATATYPES[feature.type], "shape": [-1, 1]}
        for feature in contract.features
    ]


def metadata_outputs(contract: ModelContract | None) -> list[dict[str, Any]]:
    """A contract's answer as a metadata tensor."""
    if contract is None:
        return []
    classes = contract.output.classes or ()
    datatype = "FP64"
    if contract.output.kind in ("classification", "anomaly"):
        datatype = "INT64" if all(text.lstrip("-").isdigit() for text in classes) else "BYTES"
    return [{"name": ANSWER, "datatype": datatype, "shape": [-1]}]


def _table(inputs: list[_Tensor], binary: memoryview) -> Table:
    if not inputs:
        raise BadInput("inputs holds no tensor", field="inputs", remedy="send at least one tensor")
    start = 0
    for index, tensor in enumerate(inputs):
        size = _check(tensor, f"inputs[{index}]", binary[start:])
        start += size
    if start != len(binary):
        raise BadInput(
            f"the tensors take {start} binary bytes, {len(binary)} were sent",
            field="inputs",
            remedy="correct binary_data_size",
        )
    only = inputs[0]
    if len(inputs) == 1 and len(only.shape) == 2:
        return _matrix(only)
    names = [tensor.name for tensor in inputs]
    if len(set(names)) != len(names):
        raise BadInput("inputs names a tensor twice", field="inputs", remedy="send each feature once")
    return columns_of({tensor.name: _flat(_listed(tensor)) for tensor in inputs}, "inputs")


def _listed(tensor: _Tensor) -> list[Any]:
    data: Any = tensor.data
    return data.ravel().tolist() if isinstance(data, np.ndarray) else data


def _matrix(tensor: _Tensor) -> Table:
    rows, width = tensor.shape
    data: Any = tensor.data
    if isinstance(data, np.ndarray) and tensor.datatype in NUMBERS:
        return Table(matrix=data.astype(np.float64, copy=False), where="inputs[0]")
    flat = _flat(_listed(tensor))
    if tensor.datatype in NUMBERS and all(type(value) is float or type(value) is int for value in flat):
        try:
            return Table(matrix=np.array(flat, dtype=np.float64).reshape(rows, width), where="inputs[0]")
        except (OverflowError, ValueError):
            pass
    return Table(rows=[flat[start : start + width] for start in range(0, rows * width, width or 1)], where="inputs[0]")


def _check(tensor: _Tensor, where: str, binary: memoryview) -> int:
    """Hold a tensor against its own shape; the bytes that it took of `binary`, which become its data."""
    if tensor.datatype not in DATATYPES:
        raise BadInput(
            f"{where}: unknown datatype {tensor.datatype[:40]!r}",
            field=f"{where}.datatype",
            remedy=f"send one of: {', '.join(sorted(DATATYPES))}",
        )
    if not 1 <= len(tensor.shape) <= 2 or any(size < 0 for size in tensor.shape):
        raise BadInput(
            f"{where}: shape {tensor.shape[:8]} is not [rows] or [rows, features]",
            field=f"{where}.shape",
            remedy="send rows of features",
        )
    size = (tensor.parameters or {}).get("binary_data_size")
    if tensor.data is None:
        if type(size) is not int or not 0 <= size <= len(binary):
            raise BadInput(
                f"{where} has neither data nor as many bytes as it says",
                field=f"{where}.data",
                remedy="send data, or binary_data_size and the bytes after the JSON",
            )
        if tensor.datatype == "BYTES":
            tensor.data = texts(binary[:size], tensor.shape, where)
        else:
            tensor.data = numbers(binary[:size], tensor.datatype, tensor.shape, where)  # type: ignore[assignment]  # told apart where it is used
        return size
    count = len(_flat(tensor.data))
    if count != math.prod(tensor.shape):
        raise BadInput(
            f"{where}: shape {tensor.shape} holds {math.prod(tensor.shape)} values, data {count}",
            field=f"{where}.data",
            remedy="send as many values as the shape says",
        )
    return 0


def _flat(data: list[Any]) -> list[Any]:
    if not any(isinstance(item, list) for item in data):
        return data
    return [value for item in data for value in (item if isinstance(item, list) else [item])]


def _render(
    result: InferResult, identity: str | None, wanted: dict[str, dict[str, Any]] | None, binary: bool
) -> Rendered:
    prediction = result.answer.prediction
    outputs: list[dict[str, Any]] = []
    if wanted is None or ANSWER in wanted:
        outputs.append(_answer(prediction))
    if prediction.scores is not None and (wanted is None or SCORES in wanted):
        outputs.append(
            {
                "name": SCORES,
                "shape": list(prediction.scores.shape),
                "datatype": "FP64",
                "data": prediction.scores.ravel().tolist(),
            }
        )
    document: dict[str, Any] = {
        "model_name": result.model,
        "model_version": result.answer.version,
        "outputs": outputs,
    }
    if identity is not None:
        document["id"] = identity
    parts: list[bytes] = []
    for output in outputs:
        if (wanted or {}).get(output["name"], {}).get("binary_data", binary) is True:
            data = packed(output)
            del output["data"]
            output["parameters"] = {"binary_data_size": len(data)}
            parts.append(data)
    head = _encode(document)
    if not parts:
        return Rendered(head)
    return Rendered(
        b"".join((head, *parts)),
        BINARY.encode(),
        ((b"inference-header-content-length", str(len(head)).encode()),),
    )


def _answer(prediction: Prediction) -> dict[str, Any]:
    values = prediction.values
    shape = [len(values)]
    if values and isinstance(values[0], list):
        shape.append(len(values[0]))
        values = [item for row in values for item in row]
    if all(isinstance(value, bool) for value in values):
        datatype = "BOOL"
    elif all(isinstance(value, int) for value in values):
        datatype = "INT64"
    elif all(isinstance(value, int | float) for value in values):
        datatype = "FP64"
    else:
        datatype, values = "BYTES", [str(value) for value in values]
    return {"name": ANSWER, "shape": shape, "datatype": datatype, "data": values}
