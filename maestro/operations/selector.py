"""Series selectors: the part of PromQL that an SLO file needs, the same here and in Prometheus.

A selector names a metric and matches labels, such as `maestro_responses_total{status!~"5.."}`. It selects raw counters; rates are never asked for.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from maestro.clients.exposition import Samples, Series
from maestro.core.errors import BadInput
from maestro.core.metric_names import METRICS

_SELECTOR = re.compile(r"^\s*([a-zA-Z_:][a-zA-Z0-9_:]*)\s*(?:\{(.*)\})?\s*$", re.S)
_MATCHER = re.compile(r'\s*([a-zA-Z_][a-zA-Z0-9_]*)\s*(=~|!~|!=|=)\s*"((?:[^"\\]|\\.)*)"\s*(,|$)')


@dataclass(frozen=True)
class Selector:
    """A metric's name and its label matchers `(label, operator, value)`."""

    name: str
    matchers: tuple[tuple[str, str, str], ...]

    def select(self, samples: Samples) -> dict[Series, float]:
        """The samples that match."""
        return {series: value for series, value in samples.items() if self.matches(series)}

    def matches(self, series: Series) -> bool:
        """Whether a series is selected; a label that it lacks has the value ''."""
        name, labels = series
        if name != self.name:
            return False
        values = dict(labels)
        for label, operator, wanted in self.matchers:
            value = values.get(label, "")
            same = value == wanted if operator in {"=", "!="} else re.fullmatch(wanted, value) is not None
            # Bounds of buckets are written in several ways: 0.1 and 0.10 are one bound.
            if label == "le" and operator in {"=", "!="}:
                same = same or _number(value) == _number(wanted) is not None
            if same == operator.startswith("!"):
                return False
        return True


def parse_selector(text: str) -> Selector:
    """Read a selector.

    Raises:
        BadInput: it is no selector, a regular expression is broken, or the metric is not one that the platform exports.

    >>> parse_selector('maestro_responses_total{status!~"5.."}').matchers
    (('status', '!~', '5..'),)
    """
    found = _SELECTOR.match(text)
    if found is None:
        raise BadInput(
            f"{text!r} is no series selector", field="query", remedy='write metric{label="value"}, without functions'
        )
    name, inside = found.group(1), (found.group(2) or "").strip()
    matchers: list[tuple[str, str, str]] = []
    at = 0
    while at < len(inside):
        matcher = _MATCHER.match(inside, at)
        if matcher is None:
            raise BadInput(
                f"{text!r}: cannot read {inside[at:]!r}",
                field="query",
                remedy='write label="value", separated by commas',
            )
        label, operator, value = (
            matcher.group(1),
            matcher.group(2),
            matcher.group(3).replace('\\"', '"').replace("\\\\", "\\"),
        )
        if operator.endswith("~"):
            try:
                re.compile(value)
            except re.error as error:
                raise BadInput(
                    f"{text!r}: {value!r} is no regular expression: {error}", field="query", remedy="correct it"
                ) from None
        matchers.append((label, operator, value))
        at = matcher.end()
    if re.sub(r"_(bucket|count|sum)$", "", name) not in METRICS and name not in METRICS:
        known = ", ".join(sorted(metric for metric in METRICS if METRICS[metric].kind != "gauge"))
        raise BadInput(
            f"no part exports {name}", field="query", remedy=f"use one of: {known} (histograms with _bucket or _count)"
        )
    return Selector(name, tuple(matchers))


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
