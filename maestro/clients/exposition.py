"""The Prometheus text format: scraped from a service's `/metrics`, as raw samples."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TypeAlias

import httpx

from maestro.core.errors import Malformed, Unreachable

Series: TypeAlias = tuple[str, tuple[tuple[str, str], ...]]
"""A sample's name and its labels, sorted."""

Samples: TypeAlias = Mapping[Series, float]


def scrape(url: str, timeout_s: float = 5.0) -> Samples:
    """The samples that `<url>/metrics` answers.

    Raises:
        Unreachable: no answer, or no metrics in it.
    """
    address = f"{url.rstrip('/')}/metrics"
    try:
        response = httpx.get(address, timeout=timeout_s)
        response.raise_for_status()
        return parse_exposition(response.text)
    except (httpx.HTTPError, Malformed) as error:
        raise Unreachable(
            f"{address} gives no metrics: {error}",
            remedy="run `make up`, or correct MAESTRO_SERVER_URL",
            component="server",
        ) from error


def parse_exposition(text: str) -> Samples:
    """The samples of a text exposition.

    Raises:
        Malformed: the text is not in the format.

    >>> samples = parse_exposition('maestro_responses_total{status="200"} 7.0')
    >>> samples["maestro_responses_total", (("status", "200"),)]
    7.0
    """
    from prometheus_client.parser import text_string_to_metric_families

    try:
        return MappingProxyType(
            {
                (sample.name, tuple(sorted(sample.labels.items()))): float(sample.value)
                for family in text_string_to_metric_families(text)
                for sample in family.samples
            }
        )
    except (ValueError, KeyError, IndexError) as error:
        raise Malformed(
            f"not the Prometheus text format: {error}", remedy="give the address of a metrics endpoint"
        ) from None
