"""The inference graph refuses what is not a graph."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from maestro.core.graph import InferenceGraph, references

DIGEST = "sha256:" + "0" * 64


def graph(nodes: dict[str, Any], root: str = "root") -> InferenceGraph:
    document = {
        "apiVersion": "maestro/v1",
        "kind": "InferenceGraph",
        "metadata": {"name": "m", "revision": 1},
        "root": root,
        "nodes": nodes,
    }
    return InferenceGraph.model_validate(document)


def model(version: str = "1.0.0") -> dict[str, Any]:
    return {"type": "model", "model": "m", "version": version, "digest": DIGEST}


def split(*arms: tuple[str, int], **fields: Any) -> dict[str, Any]:
    return {"type": "split", "arms": [{"node": node, "weight": weight} for node, weight in arms], **fields}


def test_the_document_of_the_format_is_accepted() -> None:
    value = graph(
        {
            "root": split(("a", 9000), ("b", 1000), key="user_id", salt="m-2026-11", fallback="a"),
            "a": model(),
            "b": {"type": "remote", "url": "http://h/v2/models/m"},
        }
    )
    assert list(value.models()) == ["a"]
    assert InferenceGraph.model_validate(value.document()) == value


@pytest.mark.parametrize(
    ("nodes", "message"),
    [
        ({"other": model()}, "root 'root' is not a node"),
        ({"root": split(("a", 10_000))}, "names 'a', which does not exist"),
        ({"root": split(("a", 9000), ("b", 999)), "a": model(), "b": model()}, "add up to 10000, these to 9999"),
        ({"root": split(("a", 5000), ("a", 5000)), "a": model()}, "names each node once"),
        ({"root": split(("root", 10_000))}, "circular: root → root"),
        (
            {
                "root": {"type": "chain", "steps": ["a", "b"]},
                "a": model(),
                "b": {"type": "shadow", "primary": "a", "mirror": "root"},
            },
            "circular: root → b → root",
        ),
        (
            {
                "root": split(("a", 10_000), fallback="b"),
                "a": model(),
                "b": {"type": "fallback", "nodes": ["a", "root"]},
            },
            "circular",
        ),
        (
            {"root": {"type": "ensemble", "members": ["a", "b"], "combine": "weighted"}, "a": model(), "b": model()},
            "one weight for each member",
        ),
        ({"root": model() | {"digest": "sha256:abc"}}, "digest"),
        ({"root": model() | {"timout_ms": 5}}, "timout_ms"),
        ({"root": {"type": "spilt"}}, "spilt"),
    ],
)
def test_what_is_no_graph_is_refused(nodes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        graph(nodes)


def test_a_diamond_is_no_cycle() -> None:
    value = graph(
        {
            "root": {"type": "ensemble", "members": ["x", "y"]},
            "x": split(("a", 10_000)),
            "y": split(("a", 10_000)),
            "a": model(),
        }
    )
    assert references(value.nodes["root"]) == ("x", "y")


@pytest.mark.parametrize("kind", ["split", "shadow", "bandit"])
def test_every_reference_of_a_node_is_known(kind: str) -> None:
    nodes = {
        "split": split(("a", 10_000), fallback="b"),
        "shadow": {"type": "shadow", "primary": "a", "mirror": "b"},
        "bandit": {"type": "bandit", "policy": "thompson", "experiment": "e", "arms": ["a", "b"]},
    }
    value = graph({"root": nodes[kind], "a": model(), "b": model("1.1.0")})
    assert set(references(value.nodes["root"])) == {"a", "b"}
