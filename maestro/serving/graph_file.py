"""A graph as a file: its bytes, and the document in them."""

from __future__ import annotations

import os
from pathlib import Path

import yaml
from pydantic import ValidationError

from maestro.core.errors import Malformed, from_validation
from maestro.core.graph import InferenceGraph

MAX_GRAPH_BYTES = 1_000_000


def parse_graph(data: bytes, name: str) -> InferenceGraph:
    """A graph from the bytes of a file.

    Raises:
        Malformed: it is not YAML.
        BadInput: a field is wrong; it is named.
    """
    try:
        document = yaml.safe_load(data)
        return InferenceGraph.model_validate(document)
    except yaml.YAMLError as error:
        line = str(error).replace("\n", " ")[:200]
        raise Malformed(f"{name} is not YAML: {line}", remedy="restore the file") from None
    except ValidationError as error:
        raise from_validation(error, name) from None
    except (RecursionError, ValueError) as error:
        raise Malformed(f"{name} cannot be read: {type(error).__name__}", remedy="restore the file") from None


def read_graph(path: Path) -> bytes:
    """The bytes of a graph file.

    Raises:
        Malformed: it cannot be read, or is too long.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_GRAPH_BYTES + 1)
    except OSError as error:
        raise Malformed(f"{path.name} cannot be read: {error.strerror}", remedy="restore the file") from None
    if len(data) > MAX_GRAPH_BYTES:
        raise Malformed(f"{path.name} is longer than {MAX_GRAPH_BYTES} bytes", remedy="restore the file")
    return data


def identity(path: Path) -> tuple[int, int, int] | None:
    """What differs when a file has been written again; None when it is not there."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return (status.st_ino, status.st_mtime_ns, status.st_size)
