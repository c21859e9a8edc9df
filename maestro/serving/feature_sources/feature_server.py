"""Features from Feast's feature server: the cluster's. Neither Feast nor a database is needed where the model is served."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from maestro.clients.feature_server import FeatureServer


class ServedFeatures:
    """Asks one feature server over connections that stay open; its client is imported when a model that has a feature service is served.

    Implements `maestro.serving.feature_sources.FeatureSource`.

    Args:
        url: of the server.
        timeout_s: how long one look-up may take, in seconds.
        key: the file with the token by which it is asked, read at every look-up; without the file nothing is said.
    """

    def __init__(self, url: str, timeout_s: float, key: Path | None = None) -> None:
        self._url = url
        self._timeout_s = timeout_s
        self._key = key
        self._client: FeatureServer | None = None

    def open(self, feature_service: str) -> None:
        """Connect. Whether it knows the service is told by the first look-up: only that names the entities.

        Raises:
            Unreachable: it does not answer.
        """
        self._asked().reach()

    def get(self, feature_service: str, entity_rows: list[dict[str, Any]]) -> list[dict[str, float | None]]:
        """Look up.

        Raises:
            NotFound: no such feature service.
            BadInput: the entity keys are not those of the service.
            Unreachable: the server does not answer, or not in its protocol.
        """
        return self._asked().get(feature_service, entity_rows)

    def close(self) -> None:
        """Close the connections."""
        if self._client is not None:
            self._client.close()

    def _asked(self) -> FeatureServer:
        if self._client is None:
            from maestro.clients.feature_server import FeatureServer

            self._client = FeatureServer(self._url, self._timeout_s, self._key)
        return self._client
