"""The OpenAPI description of the inference routes, which FastAPI does not see: they run below it."""

from __future__ import annotations

from typing import Any

from maestro.serving.protocols.adapter import JSON
from maestro.serving.protocols.mlflow_invocations import CSV
from maestro.serving.protocols.open_inference import DATATYPES
from maestro.serving.protocols.problems import documented

_KEY = {"anyOf": [{"type": "string", "minLength": 1}, {"type": "integer"}]}
_LOOKUP = {"type": "object", "additionalProperties": _KEY}
_ANY: dict[str, Any] = {}
_OBJECT = {"type": "object"}
_ROWS = {
    "type": "array",
    "items": {"anyOf": [{"type": "array"}, _OBJECT, {"type": ["number", "string", "boolean", "null"]}]},
}

_PREDICTIONS = {
    "type": "object",
    "required": ["predictions"],
    "properties": {"predictions": {"type": "array", "items": _ANY}},
}
_PREDICT = {
    "type": "object",
    "additionalProperties": False,
    "anyOf": [{"required": ["instances"]}, {"required": ["entities"]}],
    "properties": {
        "instances": _ROWS,
        "entities": {"type": "array", "minItems": 1, "items": _LOOKUP},
        "context": _LOOKUP,
        "model": {"type": "string"},
    },
}
_SPLIT = {
    "type": "object",
    "additionalProperties": False,
    "required": ["data"],
    "properties": {
        "columns": {"type": "array", "items": {"type": "string"}},
        "index": {"type": "array"},
        "data": {"type": "array", "items": {"type": "array"}},
    },
}


def _one(name: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "additionalProperties": False, "required": [name], "properties": {name: schema}}


_INVOCATION = {
    "oneOf": [
        _one("dataframe_split", _SPLIT),
        _one("dataframe_records", {"type": "array", "items": _OBJECT}),
        _one("instances", _ROWS),
        _one("inputs", {"anyOf": [_ROWS, _OBJECT]}),
    ]
}
_TENSOR = {
    "type": "object",
    "required": ["name", "shape", "datatype", "data"],
    "properties": {
        "name": {"type": "string"},
        "shape": {"type": "array", "minItems": 1, "maxItems": 2, "items": {"type": "integer", "minimum": 0}},
        "datatype": {"enum": sorted(DATATYPES)},
        "data": {"type": "array"},
        "parameters": _OBJECT,
    },
}
_INFER = {
    "type": "object",
    "required": ["inputs"],
    "properties": {
        "id": {"type": "string"},
        "parameters": _OBJECT,
        "inputs": {"type": "array", "minItems": 1, "items": _TENSOR},
        "outputs": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["name"],
                "properties": {"name": {"enum": ["predict", "probabilities"]}, "parameters": _OBJECT},
            },
        },
    },
}
_INFERRED = {
    "type": "object",
    "required": ["model_name", "outputs"],
    "properties": {
        "model_name": {"type": "string"},
        "model_version": {"type": "string"},
        "id": {"type": "string"},
        "outputs": {"type": "array", "items": _TENSOR},
    },
}
_UNIT = {
    "name": "x-maestro-unit",
    "in": "header",
    "required": False,
    "description": "the value for whichever key the split sticks to",
    "schema": {"type": "string", "minLength": 1, "pattern": "^[!-~]+$"},
}
_ERRORS = (400, 401, 403, 404, 413, 415, 422, 429, 503)


def inference_paths() -> dict[str, Any]:
    """The path items."""
    infer = _operation(
        "Infer (Open Inference Protocol)",
        {JSON: {"schema": _INFER}},
        _INFERRED,
        (400, 401, 403, 404, 413, 415, 429, 503),
    )
    return {
        "/predict": {"post": _operation("Predict", {JSON: {"schema": _PREDICT}}, _PREDICTIONS, _ERRORS)},
        "/invocations": {
            "post": _operation(
                "Predict (MLflow)",
                {JSON: {"schema": _INVOCATION}, CSV: {"schema": {"type": "string"}}},
                _PREDICTIONS,
                _ERRORS,
            )
        },
        "/v2/models/{model}/infer": {"post": infer, "parameters": [_path("model")]},
        "/v2/models/{model}/versions/{version}/infer": {
            "post": infer,
            "parameters": [_path("model"), _path("version")],
        },
    }


def _operation(
    summary: str, content: dict[str, Any], answered: dict[str, Any], errors: tuple[int, ...]
) -> dict[str, Any]:
    return {
        "summary": summary,
        "tags": ["inference"],
        "parameters": [_UNIT],
        "requestBody": {"required": True, "content": content},
        "responses": {
            "200": {
                "description": "Answered",
                "content": {JSON: {"schema": answered}},
                "headers": {
                    name: {"schema": {"type": "string"}}
                    for name in (
                        "x-maestro-version",
                        "x-maestro-arm",
                        "x-maestro-revision",
                        "x-maestro-fallback",
                        "x-maestro-reward-id",
                    )
                },
            },
            **{str(status): response for status, response in documented(*errors).items()},
        },
    }


def _path(name: str) -> dict[str, Any]:
    return {
        "name": name,
        "in": "path",
        "required": True,
        "schema": {"type": "string", "minLength": 1, "maxLength": 128},
    }
