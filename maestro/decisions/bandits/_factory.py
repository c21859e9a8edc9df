"""From a name to the policy."""

from __future__ import annotations

from collections.abc import Callable

from maestro.core.errors import BadInput
from maestro.decisions.bandits._base import BanditPolicy
from maestro.decisions.bandits.epsilon_greedy import EpsilonGreedyPolicy
from maestro.decisions.bandits.linucb import LinUcbPolicy
from maestro.decisions.bandits.thompson import ThompsonPolicy

POLICIES: dict[str, Callable[[], BanditPolicy]] = {
    "epsilon_greedy": EpsilonGreedyPolicy,
    "linucb": LinUcbPolicy,
    "thompson": ThompsonPolicy,
}
"""Name to policy."""


def create_policy(name: str) -> BanditPolicy:
    """The policy of this name.

    Raises:
        BadInput: there is none; the known names are listed.
    """
    if name not in POLICIES:
        raise BadInput(
            f"bandit policy {name!r} is not known", field="policy", remedy=f"use one of: {', '.join(sorted(POLICIES))}"
        )
    return POLICIES[name]()
