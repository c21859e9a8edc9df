"""gRPC messages as the REST form of the same protocol, with its binary tensors, and back: one reading and one writing of tensors for both."""

from __future__ import annotations

from typing import Any

import msgspec

from maestro.core.errors import BadInput
from maestro.serving.protocols.grpc.messages import messages

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode

CONTENTS = {
    "BOOL": "bool_contents", "INT8": "int_contents", "INT16": "int_contents", "INT32": "int_contents", "INT64": "int64_contents",
    "UINT8": "uint_contents", "UINT16": "uint_contents", "UINT32": "uint_contents", "UINT64": "uint64_contents",
    "FP32": "fp32_contents", "FP64": "fp64_contents", "BYTES": "bytes_contents",
}  # fmt: skip
"""Where the values of a datatype stand. FP16 travels as raw bytes only."""


def rest_body(request: Any) -> tuple[bytes, int]:
    """A ModelInferRequest as a REST body, and how many bytes of it are JSON.

    Raises:
        BadInput: raw contents and tensors do not fit together; names the tensor.
    """
    raw = list(request.raw_input_contents)
    if raw and len(raw) != len(request.inputs):
        raise BadInput(
            f"{len(raw)} raw_input_contents for {len(request.inputs)} inputs",
            field="raw_input_contents",
            remedy="send one for each input, or none",
        )
    inputs = []
    for index, tensor in enumerate(request.inputs):
        document: dict[str, Any] = {"name": tensor.name, "shape": list(tensor.shape), "datatype": tensor.datatype}
        if raw:
            if tensor.HasField("contents"):
                raise BadInput(
                    f"inputs[{index}] has contents beside raw_input_contents",
                    field=f"inputs[{index}].contents",
                    remedy="send one of the two",
                )
            inputs.append(document | {"parameters": {"binary_data_size": len(raw[index])}})
        else:
            inputs.append(document | {"data": _values(tensor, f"inputs[{index}]")})
    head: dict[str, Any] = {
        "inputs": inputs,
        "parameters": _parameters(request.parameters) | {"binary_data_output": bool(raw)},
    }
    if request.id:
        head["id"] = request.id
    if request.outputs:
        head["outputs"] = [{"name": output.name} for output in request.outputs]
    data = _encode(head)
    return b"".join([data, *raw]), len(data)


def answer_of(body: bytes, json_bytes: int | None) -> Any:
    """A REST answer as a ModelInferResponse."""
    size = len(body) if json_bytes is None else json_bytes
    document: dict[str, Any] = _decode(body[:size])
    response = messages()["ModelInferResponse"](
        model_name=document["model_name"], model_version=document["model_version"], id=document.get("id", "")
    )
    start = size
    for output in document["outputs"]:
        tensor = response.outputs.add(name=output["name"], datatype=output["datatype"], shape=output["shape"])
        if "data" in output:
            values = output["data"]
            if output["datatype"] == "BYTES":
                values = [value.encode() for value in values]
            getattr(tensor.contents, CONTENTS[output["datatype"]]).extend(values)
        else:
            end = start + output["parameters"]["binary_data_size"]
            response.raw_output_contents.append(body[start:end])
            start = end
    return response


def _values(tensor: Any, where: str) -> list[Any]:
    name = CONTENTS.get(tensor.datatype)
    if name is None:
        raise BadInput(
            f"{where}: {tensor.datatype[:40]!r} has no typed contents",
            field=f"{where}.datatype",
            remedy=f"send raw_input_contents, or one of: {', '.join(CONTENTS)}",
        )
    values = list(getattr(tensor.contents, name))
    if tensor.datatype != "BYTES":
        return values
    try:
        return [value.decode() for value in values]
    except UnicodeDecodeError:
        raise BadInput(f"{where}: a value is not UTF-8", field=f"{where}.contents", remedy="send text") from None


def _parameters(sent: Any) -> dict[str, Any]:
    known = {}
    for name, value in sent.items():
        which = value.WhichOneof("parameter_choice")
        if which is not None:
            known[name] = getattr(value, which)
    return known
