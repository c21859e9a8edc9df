"""The snapshot with which a bandit node begins, from the graph and the contract alone, so that server and control plane agree on it without a word."""

from __future__ import annotations

from maestro.core.contract import Feature, ModelContract
from maestro.core.graph import BanditNode
from maestro.decisions.bandits._factory import create_policy
from maestro.decisions.bandits.snapshot import Snapshot


def context_features(contract: ModelContract) -> list[tuple[int, Feature]]:
    """The features whose numbers leave the server as context, with their positions: neither text nor personal data."""
    return [
        (position, feature)
        for position, feature in enumerate(contract.features)
        if not feature.pii and feature.type != "string"
    ]


def first_snapshot(node: BanditNode, contract: ModelContract | None) -> Snapshot:
    """What the node knows before its first reward.

    Args:
        contract: of the node's first arm; a contextual policy scales its context by the ranges in it.

    Raises:
        BadInput: arms and epsilon do not fit, or a contextual policy has no context.
    """
    policy = create_policy(node.policy)
    ranges: list[tuple[float, float]] = []
    if policy.contextual and contract is not None:
        for _, feature in context_features(contract):
            low = (
                feature.min if feature.min is not None else (min(feature.max, 0.0) if feature.max is not None else 0.0)
            )
            high = feature.max if feature.max is not None else max(low, 1.0)
            ranges.append((low, max(low, high)))
    return policy.start(node.experiment, node.arms, epsilon=node.epsilon, ranges=ranges)


def continues(snapshot: Snapshot, first: Snapshot) -> bool:
    """Whether a snapshot is of the same bandit as `first`: the same policy over the same arms in the same order, with the same floor and ranges."""

    def identity(each: Snapshot) -> tuple[object, ...]:
        return each.policy, each.experiment, each.names, each.epsilon, each.low, each.high, each.width

    return identity(snapshot) == identity(first)
