"""One revision of a graph as it is served: a request takes it once and runs wholly on it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from maestro.core.contract import ModelContract
from maestro.core.graph import BanditNode, InferenceGraph, SplitNode
from maestro.serving.graph._base import GraphNode
from maestro.serving.loaded import LoadedVersion

if TYPE_CHECKING:
    from maestro.security.statements import Purpose


@dataclass
class ServedGraph:
    """A graph with everything in it loaded and warm.

    Args:
        content: the digest of the file's bytes.
        root: what answers.
        nodes: every running node by name.
        versions: by model node.
        purposes: what each model node is there for.
        arms: (arm, version), from the root down.
        lanes: the fast lanes of the data port, made with the first request.
        generation: rises with every revision that is published to workers.
    """

    graph: InferenceGraph
    content: str
    root: GraphNode
    nodes: Mapping[str, GraphNode]
    versions: Mapping[str, LoadedVersion]
    purposes: Mapping[str, Purpose]
    arms: tuple[tuple[str, str], ...]
    inflight: int = field(default=0)
    lanes: Any = field(default=None)
    generation: int = field(default=0)

    @property
    def model(self) -> str:
        """The name under which it is served."""
        return self.graph.metadata.name

    @property
    def revision(self) -> int:
        """Its revision."""
        return self.graph.metadata.revision

    @property
    def contract(self) -> ModelContract | None:
        """What callers rely on; None when only remote servers hold one."""
        contracts = self.root.contracts
        return contracts[0] if contracts else None

    @property
    def entity_keys(self) -> tuple[str, ...]:
        """The names whose values make the entity key text: the contract's, else the key of the outermost split."""
        contract = self.contract
        if contract is not None and contract.entity_keys:
            return contract.entity_keys
        root = self.graph.nodes[self.graph.root]
        return (root.key,) if isinstance(root, SplitNode | BanditNode) and root.key else ()

    def trained(self) -> NDArray[np.uint64]:
        """The entities that any of its versions was trained on, sorted."""
        known = [version.trained for version in self.versions.values() if version.trained is not None]
        return np.unique(np.concatenate(known)) if known else np.empty(0, dtype=np.uint64)

    def direct(self, version: str) -> str | None:
        """The model node that serves `version`, production first; None when none does."""
        nodes = [name for name, loaded in self.versions.items() if loaded.version == version]
        nodes.sort(key=lambda name: self.purposes.get(name) != "production")
        return nodes[0] if nodes else None
