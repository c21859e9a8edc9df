"""Deployment strategies, one a file; the factory refuses unknown names."""

from __future__ import annotations

from maestro.core.errors import BadInput
from maestro.governance.rollouts.strategies._base import Strategy
from maestro.governance.rollouts.strategies.blue_green import BlueGreen
from maestro.governance.rollouts.strategies.canary import Canary
from maestro.governance.rollouts.strategies.first import First
from maestro.governance.rollouts.strategies.rolling import Rolling
from maestro.governance.rollouts.strategies.shadow import Shadow

STRATEGIES: dict[str, type[Strategy]] = {kind.name: kind for kind in (Canary, BlueGreen, Rolling, Shadow, First)}


def strategy(name: str) -> Strategy:
    """The strategy of a name; `blue-green` is `blue_green`.

    Raises:
        BadInput: there is none of that name; the known ones are listed.
    """
    kind = STRATEGIES.get(name.replace("-", "_"))
    if kind is None:
        known = ", ".join(STRATEGIES)
        raise BadInput(f"deployment strategy {name!r} is not known", field="strategy", remedy=f"choose one of {known}")
    return kind()


__all__ = ["STRATEGIES", "Strategy", "strategy"]
