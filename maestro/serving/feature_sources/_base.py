"""Where features by entity come from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from maestro.core.errors import MaestroError


class FeatureSource(Protocol):
    """Features by entity.

    Obligations: one mapping a row in the order of `entity_rows`, a value for every feature of the service (None when the store has none), or the
    error of that one row where that is known; may block; is called from one thread at a time; raises Unreachable when the store does not answer,
    NotFound for an unknown service, BadInput where one of the rows can be none.
    """

    def open(self, feature_service: str) -> None:
        """Get ready to look up in a service; called before a graph that needs it answers, and may take seconds.

        Raises:
            Unreachable: the store does not answer. A look-up asks again all the same.
        """
        ...

    def get(
        self, feature_service: str, entity_rows: list[dict[str, Any]]
    ) -> Sequence[dict[str, float | None] | MaestroError]:
        """Look up."""
        ...

    def close(self) -> None:
        """Let go of what it holds; nothing is asked afterwards."""
        ...
