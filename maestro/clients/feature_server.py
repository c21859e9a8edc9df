"""Feast's feature server over HTTP: features by entity from wherever its online store is, without Feast's library here."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx

from maestro.clients.bearer import bearer
from maestro.clients.timely_http import TimelyTransport
from maestro.core.errors import BadInput, MaestroError, NotFound, Unreachable

if TYPE_CHECKING:
    import pandas as pd

BATCH = 500
"""Entities of one request."""

_IDLE_S = 3.0
"""After which an unused connection is closed here: the server closes its own after five."""


_AT_FAULT = ("invalid literal for int()", "Exceeds the limit (", "Value out of range", "Missing join key values")
"""What Feast says of entities that can be no keys of the service; its status is 500 all the same."""


class FeatureServer:
    """Asks one feature server. Thread-safe.

    Args:
        url: of the server.
        timeout_s: how long one call may take in all, in seconds, whether the server is silent or slow.
        key: the file with the token by which it is asked, read at every request; without the file nothing is said.

    Raises:
        BadInput: the address is none of HTTP.
    """

    def __init__(self, url: str, timeout_s: float = 60.0, key: Path | None = None) -> None:
        self._url = url.rstrip("/")
        self._key = key
        if not self._url.startswith(("http://", "https://")):
            raise BadInput(
                f"{url!r} is no address of a feature server", field="feature_server", remedy="give http://HOST:PORT"
            )
        self._timeout_s = timeout_s
        self._client = httpx.Client(
            base_url=self._url, timeout=timeout_s, transport=TimelyTransport(_IDLE_S), trust_env=False
        )

    def get(self, feature_service: str, entity_rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """One row of features for each entity, in the order asked for; an entity that is not there has None throughout.

        Raises:
            NotFound: no such feature service.
            BadInput: the rows have not the same keys, or not those of the service.
            Unreachable: the server does not answer.
        """
        found: list[dict[str, Any]] = []
        ends = time.monotonic() + self._timeout_s
        for first in range(0, len(entity_rows), BATCH):
            found += self._batch(feature_service, entity_rows[first : first + BATCH], ends)
        return found

    def write(self, view: str, frame: pd.DataFrame) -> None:
        """Bring rows to the online store: entity key, timestamps and every feature of the view.

        Raises:
            NotFound: no such view.
            Unreachable: the server does not answer.
        """
        columns = {
            name: [str(value) for value in column]
            if column.dtype.kind == "M"
            # JSON has no word for a number that is missing
            else [value if known else None for value, known in zip(column.tolist(), column.notna(), strict=True)]
            for name, column in frame.items()
        }
        body = {"feature_view_name": view, "df": columns, "allow_registry_cache": False}
        self._post("/write-to-online-store", body, time.monotonic() + self._timeout_s)

    def reach(self) -> None:
        """Ask whether it is there, which opens a connection.

        Raises:
            Unreachable: the server does not answer.
        """
        response = self._send("GET", "/health", None, time.monotonic() + self._timeout_s)
        if response.status_code != 200:
            raise self._unreachable(f"{response.status_code} {response.text[:300]}")

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _batch(self, service: str, rows: Sequence[Mapping[str, Any]], ends: float) -> list[dict[str, Any]]:
        keys = list(rows[0])
        if any(row.keys() != rows[0].keys() for row in rows):
            raise BadInput(
                "the entity rows have different keys", field="entities", remedy="give every row the same keys"
            )
        entities = {key: [row[key] for row in rows] for key in keys}
        answer = self._post("/get-online-features", {"feature_service": service, "entities": entities}, ends)
        try:
            # one text for all rows that are remembered
            names = [sys.intern(name) for name in answer["metadata"]["feature_names"]]
            columns = [one["values"] for one in answer["results"]]
            found = {name: values for name, values in zip(names, columns, strict=True) if name not in entities}
            if any(len(values) != len(rows) for values in found.values()):
                raise ValueError("a column has not one value an entity")
            return [{name: values[at] for name, values in found.items()} for at in range(len(rows))]
        except (KeyError, TypeError, ValueError) as error:
            raise self._unreachable(f"it answers in another protocol: {type(error).__name__}: {error}") from None

    def _post(self, path: str, body: dict[str, Any], ends: float) -> Any:
        response = self._send("POST", path, body, ends)
        said = response.text[:300]
        if response.status_code == 200:
            try:
                return response.json()
            except ValueError:
                raise self._unreachable(f"it answers in another protocol: {said}") from None
        raise self._refusal(response.status_code, said)

    def _send(self, method: str, path: str, body: dict[str, Any] | None, ends: float) -> httpx.Response:
        headers = {} if self._key is None else _headers(self._key)
        extensions = {"deadline": ends}
        for again in (True, False):
            try:
                return self._client.request(method, path, json=body, headers=headers, extensions=extensions)
            except httpx.ReadError as error:
                # a connection that the server closed as it was taken up; to look up, or to write the same rows, twice changes nothing
                if not again:
                    raise self._unreachable(_said(error)) from None
            except httpx.TimeoutException:
                raise self._unreachable(f"not within {self._timeout_s:g} s") from None
            except httpx.HTTPError as error:
                raise self._unreachable(_said(error)) from None
        raise AssertionError("unreachable")  # pragma: no cover

    def _refusal(self, status: int, said: str) -> MaestroError:
        if status == 404:
            return NotFound(f"the feature server: {said}", field="features", remedy="define the features first")
        if status == 422 or any(text in said for text in _AT_FAULT):
            return BadInput(f"the feature server: {said}", field="entities", remedy="give the keys of the service")
        return self._unreachable(f"{status} {said}")

    def _unreachable(self, how: str) -> Unreachable:
        return Unreachable(
            f"the feature server {self._url} does not answer: {how}",
            remedy="see that it runs", component="feature store",
        )  # fmt: skip


def _headers(key: Path) -> dict[str, str]:
    try:
        return bearer(key.read_text(encoding="utf-8").strip())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise Unreachable(
            f"the feature server's key cannot be read: {key}: {error}", remedy="see MAESTRO_SERVING__FEATURE_KEY",
            component="feature store",
        ) from None  # fmt: skip


def _said(error: httpx.HTTPError) -> str:
    return str(error) or type(error).__name__
