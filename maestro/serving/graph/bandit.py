"""A bandit node is understood and refused: this server has no policy snapshots yet."""

from __future__ import annotations

from typing import NoReturn

from maestro.core.errors import BadInput
from maestro.core.graph import BanditNode


def refuse(name: str, node: BanditNode) -> NoReturn:
    """Say what is missing.

    Raises:
        BadInput: always.
    """
    raise BadInput(
        f"node {name!r} is a bandit ({node.policy}); this server has no store of policy snapshots and reward joins to act on",
        field=f"nodes.{name}.type",
        remedy="use a split with fixed weights",
    )
