"""The Protocols that several domains use. Each states what an implementation owes its callers."""

from __future__ import annotations

from typing import Protocol

from pydantic import Field

from maestro.core.graph import InferenceGraph
from maestro.core.model import Model, Time


class Progress(Protocol):
    """Where long work reports to.

    Obligations: never raises, may drop reports, safe to call from any thread.
    """

    def update(self, fraction: float, message: str) -> None:
        """`fraction` is 0 to 1 of the whole work."""
        ...


class NoProgress:
    """Reports to nobody."""

    def update(self, fraction: float, message: str) -> None:
        """Do nothing."""


class ArmReading(Model):
    """Raw cumulative counters of one arm since its server's start.

    `latency` maps an upper bound in seconds (as text, `+Inf` last) to the cumulative count at or below it.
    `exposed`, `eligible`, `labelled`, `wrong` count distinct units that were never trained on: exposed at all, exposed longer ago
    than the label wait, of those labelled, of those answered wrong.
    """

    version: str
    requests: dict[str, int]
    latency: dict[str, int]
    exposed: int = 0
    eligible: int = 0
    labelled: int = 0
    wrong: int = 0
    entered: int | None = Field(
        default=None,
        description="distinct units whose first exposure under the graph's present revision was in this arm; what a sample-ratio "
        "test needs, since units that an earlier revision sent elsewhere are no fresh draw. None where it is not counted",
    )


class Reading(Model):
    """One observation of every arm of a model, as the source's own clock dates it.

    `epoch` changes when the source's counters started again from zero; `dropped` is the count of exposures that were lost.
    """

    at: Time
    epoch: str
    revision: int
    arms: dict[str, ArmReading]
    dropped: int = 0


class MetricSource(Protocol):
    """Where a rollout's evidence comes from.

    Obligations: raw cumulative integers, never rates or increases computed elsewhere; a reset shows as a new `epoch`; an answer older than
    `max_age_s` is refused; read-only and safe to call from any thread.

    Raises:
        Unreachable: no fresh answer. Callers freeze; they never treat it as zero.
    """

    def read(self, model: str, label_wait_s: float) -> Reading:
        """The counters of every arm that serves `model` now."""
        ...


class TrafficTarget(Protocol):
    """What moves traffic for one model.

    Obligations: the graph is the only source of traffic; `write` is a compare-and-swap on `revision` and durable when it returns; a repeated write of the
    same graph is a no-op; a version without a valid statement is refused by the target itself, not by its callers.
    """

    def read(self) -> InferenceGraph | None:
        """The graph as it stands, or None when there is none yet."""
        ...

    def write(self, graph: InferenceGraph, *, expected_revision: int | None) -> None:
        """Replace the graph.

        Args:
            graph: its `revision` is `expected_revision + 1`, or 1.
            expected_revision: the revision it replaces; None when there is none yet.

        Raises:
            Conflict: somebody wrote first.
            Refused: a version lacks its statement.
        """
        ...

    def wait_ready(self, revision: int, timeout_s: float) -> None:
        """Return when the target serves `revision`, every version loaded and warm.

        Raises:
            Unreachable: it did not within `timeout_s`.
            Refused: the target refused the revision, with its reason.
        """
        ...


class Alert(Model):
    """A notification."""

    title: str
    body: str
    severity: str
    source: str


class Notifier(Protocol):
    """Where alerts go.

    Obligations: delivers at most once for each call, returns within 10 s, never raises for a receiver's failure: it returns False and logs why.
    """

    def notify(self, alert: Alert) -> bool:
        """Whether every receiver accepted it."""
        ...


class SecretStore(Protocol):
    """Where secret values live.

    Obligations: `get` returns the current value or raises NotFound naming the secret, never an empty default; values are never logged.
    """

    def get(self, name: str) -> str:
        """The value of the secret `name`."""
        ...

    def put(self, name: str, value: str) -> None:
        """Create or replace it, readable by the owner only."""
        ...
