"""Feast's feature server over HTTP: features by entity from wherever its online store is, without Feast's library here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import httpx

from maestro.core.errors import BadInput, NotFound, Unreachable

if TYPE_CHECKING:
    import pandas as pd

BATCH = 500
"""Entities of one request."""


class FeatureServer:
    """Asks one feature server. Thread-safe.

    Args:
        url: of the server.
        timeout_s: how long an answer may take.
    """

    def __init__(self, url: str, timeout_s: float = 60.0) -> None:
        self._url = url.rstrip("/")
        self._client = httpx.Client(base_url=self._url, timeout=timeout_s, trust_env=False)

    def get(self, feature_service: str, entity_rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """One row of features for each entity, in the order asked for; an entity that is not there has None throughout.

        Raises:
            NotFound: no such feature service.
            BadInput: the rows have not the same keys, or not those of the service.
            Unreachable: the server does not answer.
        """
        found: list[dict[str, Any]] = []
        for first in range(0, len(entity_rows), BATCH):
            found += self._batch(feature_service, entity_rows[first : first + BATCH])
        return found

    def write(self, view: str, frame: pd.DataFrame) -> None:
        """Bring rows to the online store: entity key, timestamps and every feature of the view.

        Raises:
            NotFound: no such view.
            Unreachable: the server does not answer.
        """
        columns = {
            name: [str(value) for value in column] if column.dtype.kind == "M" else column.tolist()
            for name, column in frame.items()
        }
        body = {"feature_view_name": view, "df": columns, "allow_registry_cache": False}
        self._post("/write-to-online-store", body)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _batch(self, service: str, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        keys = list(rows[0])
        if any(list(row) != keys for row in rows):
            raise BadInput(
                "the entity rows have different keys", field="entities", remedy="give every row the same keys"
            )
        entities = {key: [row[key] for row in rows] for key in keys}
        answer = self._post("/get-online-features", {"feature_service": service, "entities": entities})
        columns = dict(
            zip(answer["metadata"]["feature_names"], (one["values"] for one in answer["results"]), strict=True)
        )
        return [
            {name: values[at] for name, values in columns.items() if name not in entities} for at in range(len(rows))
        ]

    def _post(self, path: str, body: dict[str, Any]) -> Any:
        try:
            response = self._client.post(path, json=body)
        except httpx.HTTPError as error:
            raise self._unreachable(str(error) or type(error).__name__) from None
        if response.status_code == 200:
            return response.json()
        said = response.text[:300]
        if response.status_code == 404:
            raise NotFound(f"the feature server: {said}", field="features", remedy="define the features first")
        if response.status_code == 422:
            raise BadInput(f"the feature server: {said}", field="entities", remedy="give the keys of the service")
        raise self._unreachable(f"{response.status_code} {said}")

    def _unreachable(self, how: str) -> Unreachable:
        return Unreachable(
            f"the feature server {self._url} does not answer: {how}",
            remedy="see that it runs", component="feature server",
        )  # fmt: skip
