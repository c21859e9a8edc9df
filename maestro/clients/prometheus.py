"""Prometheus over HTTP: raw samples of series, each with the time at which it was scraped (https://prometheus.io/docs/prometheus/latest/querying/api/)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import httpx

from maestro.core.errors import BadInput, Unreachable


@dataclass(frozen=True)
class RawSeries:
    """One series: its labels without the name, and the newest of its samples: Unix seconds and value."""

    name: str
    labels: tuple[tuple[str, str], ...]
    at: float
    value: float

    def label(self, name: str) -> str:
        """A label's value, empty where the series has none."""
        return dict(self.labels).get(name, "")


class PrometheusClient:
    """One server. Thread-safe.

    Args:
        url: its address.
        token: a bearer token, where it asks for one.
        timeout_s: how long an answer may take.
    """

    def __init__(self, url: str, token: str | None = None, *, timeout_s: float = 5.0) -> None:
        self.url = url.rstrip("/")
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._timeout_s = timeout_s

    def newest(self, selector: str, window_s: int) -> list[RawSeries]:
        """The newest raw sample of each series that was scraped in the last `window_s` seconds; nothing is computed from it.

        Raises:
            BadInput: the selector is none.
            Unreachable: no answer.
        """
        found = self._query(f"{selector}[{window_s}s]")
        if found.get("resultType") != "matrix":
            raise self._unreachable("gives no raw samples")
        series = []
        for one in found["result"]:
            labels = dict(one["metric"])
            name = labels.pop("__name__", "")
            at, value = one["values"][-1]
            series.append(RawSeries(name, tuple(sorted(labels.items())), float(at), float(value)))
        return series

    def _query(self, query: str) -> dict[str, Any]:
        try:
            response = httpx.post(
                f"{self.url}/api/v1/query",
                data={"query": query},
                headers=self._headers,
                timeout=self._timeout_s,
                trust_env=False,
            )
            document = response.json()
        except (httpx.HTTPError, ValueError) as error:
            raise self._unreachable(f"does not answer ({str(error) or type(error).__name__})") from None
        if response.status_code in (400, 422):
            raise BadInput(
                f"Prometheus refuses {query!r}: {document.get('error', response.status_code)}",
                field="query",
                remedy="correct the selector",
            )
        if response.status_code != 200 or document.get("status") != "success":
            raise self._unreachable(f"answers {response.status_code}")
        data: dict[str, Any] = document["data"]
        return data

    def _unreachable(self, how: str) -> Unreachable:
        return Unreachable(
            f"Prometheus at {self.url} {how}",
            remedy="see that it runs and scrapes the model servers",
            component="prometheus",
        )
