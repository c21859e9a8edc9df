"""The SLO file: OpenSLO v1 (https://github.com/OpenSLO/OpenSLO), several documents in one YAML file."""

from __future__ import annotations

import re
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Self

import yaml
from pydantic import Field, ValidationError, field_validator, model_validator

from maestro.core.canonical import digest
from maestro.core.errors import BadInput, Malformed, NotFound, from_validation
from maestro.core.model import Model, Name
from maestro.operations.selector import Selector, parse_selector

TRAFFIC = "_traffic"
"""Name of the roll-up of the traffic itself; no SLO may have it."""


class Metadata(Model):
    """Name and labels of a document."""

    name: Name
    displayName: str | None = None  # noqa: N815 - the field names of OpenSLO
    labels: dict[str, Any] = {}
    annotations: dict[str, str] = {}


class PrometheusSpec(Model):
    """A raw counter."""

    query: str

    @field_validator("query")
    @classmethod
    def _is_selector(cls, value: str) -> str:
        try:
            parse_selector(value)
        except BadInput as error:
            raise ValueError(f"{error.detail}; {error.remedy}") from None
        return value


class MetricSource(Model):
    """Where a counter is."""

    type: Literal["Prometheus"] = "Prometheus"
    metricSourceRef: str | None = None  # noqa: N815
    spec: PrometheusSpec


class Metric(Model):
    """One counter of a ratio."""

    metricSource: MetricSource  # noqa: N815

    @property
    def selector(self) -> Selector:
        """The series."""
        return parse_selector(self.metricSource.spec.query)


class RatioMetric(Model):
    """Good (or bad) events over all, as raw counters."""

    counter: Literal[True]
    good: Metric | None = None
    bad: Metric | None = None
    total: Metric

    @model_validator(mode="after")
    def _one_of_two(self) -> Self:
        if (self.good is None) == (self.bad is None):
            raise ValueError("give good or bad, not both")
        return self


class IndicatorSpec(Model):
    """Only ratios: a threshold on a raw value has no error budget in events."""

    ratioMetric: RatioMetric  # noqa: N815


class Indicator(Model):
    """An SLI written into its SLO."""

    metadata: Metadata
    spec: IndicatorSpec


class TimeWindow(Model):
    """A rolling window such as `30d`."""

    duration: str = Field(pattern=r"^[1-9]\d{0,3}[mhdw]$")
    isRolling: Literal[True] = True  # noqa: N815

    @property
    def seconds(self) -> int:
        """Its length."""
        return duration_seconds(self.duration)


class Objective(Model):
    """The share that has to be good. With time slices, a slice is good when `timeSliceTarget` of its events are."""

    displayName: str | None = None  # noqa: N815
    target: float = Field(gt=0.0, lt=1.0)
    timeSliceTarget: float | None = Field(default=None, gt=0.0, le=1.0)  # noqa: N815
    timeSliceWindow: str | None = Field(default=None, pattern=r"^[1-9]\d{0,3}[smh]$")  # noqa: N815


class SloSpec(Model):
    """What is promised."""

    description: str = ""
    service: Name
    indicator: Indicator
    timeWindow: tuple[TimeWindow] = Field(description="exactly one")  # noqa: N815
    budgetingMethod: Literal["Occurrences", "Timeslices"]  # noqa: N815
    objectives: tuple[Objective] = Field(description="exactly one")

    @model_validator(mode="after")
    def _slices_are_described(self) -> Self:
        objective = self.objectives[0]
        described = objective.timeSliceTarget is not None and objective.timeSliceWindow is not None
        if (self.budgetingMethod == "Timeslices") != described:
            raise ValueError("timeSliceTarget and timeSliceWindow belong to budgetingMethod Timeslices, both of them")
        return self


class Slo(Model):
    """One SLO document."""

    apiVersion: Literal["openslo/v1"]  # noqa: N815
    kind: Literal["SLO"]
    metadata: Metadata
    spec: SloSpec

    @property
    def name(self) -> str:
        """Its name."""
        return self.metadata.name

    @property
    def target(self) -> float:
        """The share that has to be good."""
        return self.spec.objectives[0].target

    @property
    def window_s(self) -> int:
        """The length of the rolling window."""
        return self.spec.timeWindow[0].seconds

    @property
    def slice_s(self) -> int | None:
        """The length of a time slice, or None when events are counted."""
        text = self.spec.objectives[0].timeSliceWindow
        return duration_seconds(text) if text else None

    @cached_property
    def counters(self) -> tuple[Selector, Selector, bool]:
        """Selectors of good (or bad) and of all events, and whether the first counts bad ones."""
        ratio = self.spec.indicator.spec.ratioMetric
        part = ratio.good or ratio.bad
        assert part is not None  # noqa: S101 - the model holds one of them
        return part.selector, ratio.total.selector, ratio.bad is not None


def duration_seconds(text: str) -> int:
    """Seconds of `10s`, `5m`, `1h`, `30d`, `4w`.

    Raises:
        BadInput: it is no duration.

    >>> duration_seconds("30d")
    2592000
    """
    if re.fullmatch(r"[1-9]\d{0,5}[smhdw]", text) is None:
        raise BadInput(f"window {text!r} is no duration", field="window", remedy="write 10s, 5m, 1h, 30d or 4w")
    return int(text[:-1]) * {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}[text[-1]]


def parse_slos(text: str, what: str) -> tuple[Slo, ...]:
    """The SLOs of a file's text; documents of kind `Service` may stand beside them.

    Raises:
        BadInput: a field is wrong; it is named with the document's name.
    """
    try:
        documents = [document for document in yaml.safe_load_all(text) if document is not None]
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark is not None else ""
        raise Malformed(f"{what} is not YAML{where}", field=what, remedy="correct the file") from None
    slos: list[Slo] = []
    for document in documents:
        if not isinstance(document, dict):
            raise Malformed(
                f"{what} holds something that is no document", field=what, remedy="write OpenSLO v1 documents"
            )
        if document.get("kind") == "Service" and document.get("apiVersion") == "openslo/v1":
            continue
        name = (document.get("metadata") or {}).get("name", "?") if isinstance(document.get("metadata"), dict) else "?"
        try:
            slos.append(Slo.model_validate(document))
        except ValidationError as error:
            raise from_validation(error, f"{what}, SLO {name}") from None
    names = [slo.name for slo in slos]
    if not slos or len(set(names)) != len(names) or TRAFFIC in names:
        raise BadInput(
            f"{what} needs SLOs with names that differ", field="metadata.name", remedy="give each SLO a name of its own"
        )
    return tuple(slos)


def load_slos(path: Path) -> tuple[Slo, ...]:
    """The SLOs of a file; a relative path is looked for here, then in the checkout that the package lies in.

    Raises:
        NotFound: there is no such file.
        BadInput: a field is wrong.
    """
    for folder in (Path.cwd(), Path(__file__).parents[2]):
        found = folder / path
        if found.is_file():
            return parse_slos(found.read_text(encoding="utf-8"), path.name)
    raise NotFound(
        f"the SLO file {path} does not exist", field="slo_file", remedy="name it with --slo-file or MAESTRO_SLO_FILE"
    )


def slos_digest(slos: tuple[Slo, ...]) -> str:
    """The digest of what the SLOs say."""
    return digest([slo.document() for slo in slos])
