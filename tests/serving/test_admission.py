"""What each version in a graph is there for."""

from __future__ import annotations

from typing import Any

import pytest

from maestro.core.graph import InferenceGraph
from maestro.serving.admission import purposes
from tests.serving.conftest import split

MODELS = {
    name: {"type": "model", "model": "m", "version": f"1.{number}.0", "digest": "sha256:" + str(number) * 64}
    for number, name in enumerate("abcd")
}


def found(root: str, **nodes: Any) -> dict[str, str]:
    graph = InferenceGraph.model_validate(
        {"metadata": {"name": "m", "revision": 1}, "root": root, "nodes": MODELS | nodes}
    )
    return dict(purposes(graph))


P, C = "production", "candidate"


@pytest.mark.parametrize(
    ("root", "nodes", "expected"),
    [
        ("a", {}, {"a": P}),
        ("s", {"s": split("a", "b", 100)}, {"a": P, "b": C}),
        ("s", {"s": split("a", "b", 0)}, {"a": P, "b": C}),
        ("s", {"s": split("a", "b", 10_000)}, {"a": P, "b": C}),
        ("s", {"s": split("a", "b", 100, fallback=None)}, {"a": P, "b": P}),
        ("s", {"s": split("a", "b", 100, fallback="c")}, {"a": C, "b": C, "c": P}),
        ("x", {"x": {"type": "shadow", "primary": "a", "mirror": "b"}}, {"a": P, "b": C}),
        ("e", {"e": {"type": "ensemble", "members": ["a", "b"]}}, {"a": P, "b": P}),
        ("k", {"k": {"type": "chain", "steps": ["a", "b"]}}, {"a": P, "b": P}),
        ("f", {"f": {"type": "fallback", "nodes": ["a", "b"]}}, {"a": P, "b": P}),
        # A candidate's own parts are candidates; what is reached both ways is production.
        ("s", {"s": split("a", "e", 100), "e": {"type": "ensemble", "members": ["b", "c"]}}, {"a": P, "b": C, "c": C}),
        ("s", {"s": split("a", "e", 100), "e": {"type": "ensemble", "members": ["b", "a"]}}, {"a": P, "b": C}),
        ("s", {"s": split("e", "b", 100), "e": {"type": "ensemble", "members": ["b", "a"]}}, {"a": P, "b": P}),
        ("s", {"s": split("a", "t", 100), "t": split("b", "c", 10)}, {"a": P, "b": C, "c": C}),
    ],
)  # fmt: skip
def test_purposes(root: str, nodes: dict[str, Any], expected: dict[str, str]) -> None:
    assert found(root, **nodes) == expected
