"""What each version in a graph is there for, and whether its statements admit it for that.

A model node gets *production* traffic when it is the root, or is reached from it through any chain of ensemble, chain or fallback nodes, as a
shadow's primary, as a split's `fallback`, or as any arm of a split that names no fallback. It is a *candidate* when it is reached only as an arm of
a split whose `fallback` is another node, or only as a shadow's mirror: at any weight, 100 % included (the bake of a rollout), the split keeps a
version with a promotion behind it. A node reached both ways is production. Production needs a promotion; a candidate needs a rollout
authorisation, which expires, or a promotion. Remote nodes pin no version: the server behind them checks its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

from maestro.clients.home import Home
from maestro.core.clock import Clock
from maestro.core.errors import Untrusted
from maestro.core.graph import InferenceGraph, ModelNode, ShadowNode, SplitNode, references
from maestro.core.statement import TrustPolicy
from maestro.security.quarantine import read_manifest
from maestro.security.statements import Purpose, check_admission, read_envelopes
from maestro.security.trust import load_trust


def purposes(graph: InferenceGraph) -> dict[str, Purpose]:
    """What each reachable model node is there for, by node name."""
    found: dict[str, Purpose] = {}

    def walk(name: str, purpose: Purpose) -> None:
        node = graph.nodes[name]
        match node:
            case ModelNode():
                if found.get(name) != "production":
                    found[name] = purpose
            case SplitNode():
                for arm in node.arms:
                    candidate = node.fallback is not None and arm.node != node.fallback
                    walk(arm.node, "candidate" if candidate else purpose)
                if node.fallback is not None:
                    walk(node.fallback, purpose)
            case ShadowNode():
                walk(node.primary, purpose)
                walk(node.mirror, "candidate")
            case _:
                for target in references(node):
                    walk(target, purpose)

    walk(graph.root, "production")
    return found


def is_unsigned(version_dir: Path) -> bool:
    """Whether nobody has signed anything about a version. One bad signature makes it signed, and refused."""
    return not read_envelopes(version_dir)


def check_graph(
    graph: InferenceGraph,
    version_dirs: Mapping[str, Path],
    policy: TrustPolicy | None,
    *,
    environment: str,
    at: datetime,
    allow_unsigned: bool = False,
) -> None:
    """Refuse a graph that gives traffic to a version without its statement.

    Args:
        graph: the graph.
        version_dirs: the folder of each model node's version, by node name.
        policy: the trust policy; None trusts nobody.
        environment: where.
        at: now.
        allow_unsigned: let versions in about which nothing is signed.

    Raises:
        Untrusted: a version lacks what it needs, or its digest is not the pinned one; names the node.
    """
    for name, purpose in purposes(graph).items():
        node = graph.nodes[name]
        assert isinstance(node, ModelNode)  # noqa: S101 - purposes lists model nodes only
        check_version(
            node,
            version_dirs[name],
            policy,
            purpose=purpose,
            environment=environment,
            at=at,
            allow_unsigned=allow_unsigned,
        )


def check_version(
    node: ModelNode,
    version_dir: Path,
    policy: TrustPolicy | None,
    *,
    purpose: Purpose,
    environment: str,
    at: datetime,
    allow_unsigned: bool,
) -> bool:
    """Whether the version is signed; raises unless it may get traffic.

    Raises:
        Untrusted: it may not.
    """
    manifest = read_manifest(version_dir, node.digest)
    if (manifest.model, manifest.version) != (node.model, node.version):
        raise Untrusted(
            f"the graph names {node.model}@{node.version}, the digest is that of {manifest.model}@{manifest.version}",
            field="digest",
            remedy="pin the digest of the version that is named",
        )
    if allow_unsigned and is_unsigned(version_dir):
        return False
    check_admission(
        (manifest, tuple(read_envelopes(version_dir).values())),
        policy or TrustPolicy(),
        purpose=purpose,
        environment=environment,
        at=at,
        expected_digest=node.digest,
    )
    return True


class Admission:
    """The check that every traffic target makes before it writes a graph or carries one out.

    Args:
        home: `$MAESTRO_HOME`, with the versions and their statements.
        clock: statements expire.
        trust_path: the trust policy; that of the home when None.
        environment: the environment whose statements count.
        allow_unsigned: as the server is set (`MAESTRO_SERVING__ALLOW_UNSIGNED`).
    """

    def __init__(
        self, home: Home, clock: Clock, *, trust_path: Path | None, environment: str, allow_unsigned: bool
    ) -> None:
        self._home = home
        self._clock = clock
        self._trust_path = trust_path or home.trust_policy
        self._environment = environment
        self._allow_unsigned = allow_unsigned

    def check(self, graph: InferenceGraph) -> None:
        """Refuse a graph that gives traffic to a version without its statement.

        Raises:
            Untrusted: it does, or the trust policy cannot be read; names the node.
        """
        folders = {name: self._home.version(node.model, node.version) for name, node in graph.models().items()}
        check_graph(
            graph,
            {name: folders[name] for name in purposes(graph)},
            self._trust(),
            environment=self._environment,
            at=self._clock.now(),
            allow_unsigned=self._allow_unsigned,
        )

    def _trust(self) -> TrustPolicy | None:
        try:
            return load_trust(self._trust_path)
        except Untrusted:
            if self._allow_unsigned and not self._trust_path.exists():
                return None
            raise
