"""Features from a Feast repository below the home: the laptop's."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from maestro.core.errors import Unreachable

if TYPE_CHECKING:
    from maestro.clients.feast import OnlineFeatures


class LazyFeatures:
    """The online store, opened when a model that has a feature service is served: its library takes seconds and hundreds of megabytes to import.

    Implements `maestro.serving.feature_sources.FeatureSource`.
    """

    def __init__(self, repository: Path) -> None:
        self._repository = repository
        self._source: OnlineFeatures | None = None

    def get(self, feature_service: str, entity_rows: list[dict[str, Any]]) -> list[dict[str, float | None]]:
        """Look up.

        Raises:
            Unreachable: there is no store, or its library is not installed.
        """
        return self._opened().get(feature_service, entity_rows)

    def open(self, feature_service: str) -> None:
        """Import the library and find the service."""
        self._opened().open(feature_service)

    def close(self) -> None:
        """The store ends with its process."""

    def _opened(self) -> OnlineFeatures:
        if self._source is None:
            if not self._repository.is_dir():
                raise Unreachable(
                    f"there is no feature store at {self._repository}",
                    remedy="apply and materialise the feature repository, or name a feature server: MAESTRO_SERVING__FEATURE_SERVER",
                    component="feature store",
                )
            try:
                from maestro.clients.feast import OnlineFeatures
            except ModuleNotFoundError as error:
                raise Unreachable(
                    f"the feature store's library is not installed: {error}",
                    remedy="pip install 'maestro-ml[features]'",
                    component="feature store",
                ) from None
            self._source = OnlineFeatures(self._repository)
        return self._source
