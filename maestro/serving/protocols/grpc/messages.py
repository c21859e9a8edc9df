"""The protocol's messages, made from `open_inference.proto` when they are first needed: no generated code, and no compiler.

Only what that file uses is understood: messages, nested messages, scalars, `repeated`, `map` and `oneof`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

PROTO = Path(__file__).with_name("open_inference.proto")
PACKAGE = "inference"
SERVICE = f"{PACKAGE}.GRPCInferenceService"

_FIELD = descriptor_pb2.FieldDescriptorProto
_SCALARS = {
    "bool": _FIELD.TYPE_BOOL, "int32": _FIELD.TYPE_INT32, "int64": _FIELD.TYPE_INT64, "uint32": _FIELD.TYPE_UINT32,
    "uint64": _FIELD.TYPE_UINT64, "float": _FIELD.TYPE_FLOAT, "double": _FIELD.TYPE_DOUBLE, "string": _FIELD.TYPE_STRING,
    "bytes": _FIELD.TYPE_BYTES,
}  # fmt: skip
_TOKEN = re.compile(r"[A-Za-z_][\w.]*|\d+|\"[^\"]*\"|[{}()<>=;,]")


@lru_cache(maxsize=1)
def messages() -> dict[str, type[Any]]:
    """Message classes by name within the package; a nested one is an attribute of its outer one."""
    pool = descriptor_pool.DescriptorPool()
    pool.Add(parse(PROTO.read_text()))
    found = message_factory.GetMessageClassesForFiles([PROTO.name], pool)
    return {name.removeprefix(f"{PACKAGE}."): message for name, message in found.items()}


def calls(text: str) -> dict[str, tuple[str, str]]:
    """The service's calls: request and response by name."""
    return {
        name: (request, response)
        for name, request, response in re.findall(r"rpc (\w+)\((\w+)\) returns \((\w+)\)", text)
    }


def parse(text: str) -> descriptor_pb2.FileDescriptorProto:
    """A file's descriptor, without its services.

    Raises:
        ValueError: it uses what is not understood here.
    """
    file = descriptor_pb2.FileDescriptorProto(name=PROTO.name, package=PACKAGE, syntax="proto3")
    body = re.sub(r"service \w+ \{.*?\n\}", "", re.sub(r"//.*", "", text), flags=re.S)
    words = iter(_TOKEN.findall(body))
    top = set(re.findall(r"^message (\w+)", body, flags=re.M))
    for word in words:
        if word == "message":
            _message(words, file.message_type.add(), f".{PACKAGE}", top)
        elif word in ("syntax", "package"):
            while next(words) != ";":
                pass
        else:
            raise ValueError(f"{PROTO.name}: {word!r} is not understood")
    return file


def _message(words: Iterator[str], message: descriptor_pb2.DescriptorProto, scope: str, known: set[str]) -> None:
    message.name = next(words)
    scope = f"{scope}.{message.name}"
    inner: set[str] = set()
    _expect(words, "{")
    choice: int | None = None
    for word in words:
        if word == "}":
            if choice is None:
                return
            choice = None
        elif word == "message":
            nested = message.nested_type.add()
            _message(words, nested, scope, known)
            inner.add(nested.name)
        elif word == "oneof":
            choice = len(message.oneof_decl)
            message.oneof_decl.add(name=next(words))
            _expect(words, "{")
        elif word == "map":
            _expect(words, "<")
            key = next(words)
            _expect(words, ",")
            value = next(words)
            _expect(words, ">")
            _map(words, message, scope, key, value)
        else:
            field = message.field.add(label=_FIELD.LABEL_OPTIONAL)
            if word == "repeated":
                field.label = _FIELD.LABEL_REPEATED
                word = next(words)
            _typed(field, word, scope if word in inner else f".{PACKAGE}", known | inner)
            _named(words, field)
            if choice is not None:
                field.oneof_index = choice


def _map(words: Iterator[str], message: descriptor_pb2.DescriptorProto, scope: str, key: str, value: str) -> None:
    field = message.field.add(label=_FIELD.LABEL_REPEATED, type=_FIELD.TYPE_MESSAGE)
    _named(words, field)
    entry = message.nested_type.add(name=f"{field.name.title().replace('_', '')}Entry")
    entry.options.map_entry = True
    _typed(entry.field.add(name="key", number=1, label=_FIELD.LABEL_OPTIONAL), key, "", set())
    _typed(entry.field.add(name="value", number=2, label=_FIELD.LABEL_OPTIONAL), value, f".{PACKAGE}", {value})
    field.type_name = f"{scope}.{entry.name}"


def _typed(field: descriptor_pb2.FieldDescriptorProto, word: str, scope: str, known: set[str]) -> None:
    if word in _SCALARS:
        field.type = _SCALARS[word]
        return
    if word not in known:
        raise ValueError(f"{PROTO.name}: type {word!r} is not understood")
    field.type, field.type_name = _FIELD.TYPE_MESSAGE, f"{scope}.{word}"


def _named(words: Iterator[str], field: descriptor_pb2.FieldDescriptorProto) -> None:
    field.name = next(words)
    _expect(words, "=")
    field.number = int(next(words))
    _expect(words, ";")


def _expect(words: Iterator[str], wanted: str) -> None:
    word = next(words)
    if word != wanted:
        raise ValueError(f"{PROTO.name}: {word!r} stands where {wanted!r} is expected")
