"""A search's money: what a trial may cost at worst is set aside before it starts, so that the budget is never exceeded."""

from __future__ import annotations

from collections.abc import Hashable

from maestro.core.errors import BadInput
from maestro.core.money import MicroUsd


class Budget:
    """What may be spent, was spent, and is set aside for what runs. Not thread-safe.

    Args:
        total: micro-dollars; None is no limit.
        spent: micro-dollars that earlier trials cost.

    >>> budget = Budget(100, spent=30)
    >>> budget.reserve("a", 50), budget.reserve("b", 50)
    (True, False)
    >>> budget.settle("a", 10)
    >>> budget.reserve("b", 50), budget.spent, budget.free
    (True, 40, 10)
    """

    def __init__(self, total: MicroUsd | None, *, spent: MicroUsd = 0) -> None:
        if spent < 0 or (total is not None and total < 0):
            raise BadInput("a budget is negative", field="budget_usd", remedy="give 0 or more")
        self.total = total
        self.spent = spent
        self._reserved: dict[Hashable, MicroUsd] = {}

    @property
    def free(self) -> MicroUsd | None:
        """What is neither spent nor set aside; None without a limit."""
        return None if self.total is None else self.total - self.spent - sum(self._reserved.values())

    def reserve(self, key: Hashable, worst: MicroUsd) -> bool:
        """Set `worst` aside for `key`; False when it is not there, and then nothing is set aside."""
        if self.free is not None and worst > self.free:
            return False
        self._reserved[key] = worst
        return True

    def settle(self, key: Hashable, cost: MicroUsd) -> None:
        """Book what `key` really cost and release what was set aside for it.

        Raises:
            BadInput: it cost more than was set aside; the worst case was none.
        """
        worst = self._reserved.pop(key, 0)
        self.spent += cost
        if self.total is not None and cost > worst:
            raise BadInput(
                f"{key} cost {cost} micro-dollars, {worst} were set aside",
                field="budget_usd",
                remedy="correct the worst case",
            )
