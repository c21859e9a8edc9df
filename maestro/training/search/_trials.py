"""The seam behind which a search's trials run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

from maestro.training.pipeline.preprocess import Prepared
from maestro.training.search.request import StudyRequest


@dataclass
class Setting:
    """What every trial of a search needs. `judged` says that somebody hears after each fold whether the trial goes on."""

    request: StudyRequest
    prepared: Prepared
    judged: bool


@dataclass(frozen=True)
class Begun:
    """A trial that an earlier process started: its parameters, its own time limit and the cores that it holds."""

    params: dict[str, Any]
    timeout_s: float
    cores: float


@dataclass(frozen=True)
class Step:
    """A trial has finished one more fold: the means so far and the seconds spent fitting."""

    number: int
    step: int
    means: dict[str, float]
    seconds: float


@dataclass(frozen=True)
class Ended:
    """A trial's process has ended.

    Attributes:
        number: of the trial.
        code: exit status, negative for a signal.
        timed_out: whether its time was over.
        metrics: its result, None without one.
        problem: the problem document of an error that the next trial would meet as well.
        failed: what went wrong in this trial alone.
        wall_s: from its start to its end.
        cpu_s: CPU seconds that the system accounted.
        peak_memory_bytes: highest resident memory.
    """

    number: int
    code: int
    timed_out: bool
    metrics: dict[str, float] | None
    problem: dict[str, Any] | None
    failed: str
    wall_s: float
    cpu_s: float
    peak_memory_bytes: int


class Trials(Protocol):
    """What runs trials for a search.

    Obligations:
    - every trial that was started gives one Ended and nothing after it; before it one Step for each fold that it finished, in order.
    - where the setting says that trials are judged, each step but the last is answered. A trial that is told to end gives its Ended soon after,
      with its metrics only where it was done before it heard; whether a trial waits for its answer is the implementation's.
    - a trial is billed for no longer than its time limit and `grace_s`.
    - where `outlives`, a trial goes on when this process ends, and `resume` with its number and what it was begun with finds it again and starts nothing
      twice, until its Ended was followed by a further call here; elsewhere it ends with this process.
    - used from one thread.
    """

    outlives: ClassVar[bool]
    grace_s: ClassVar[float]

    def load(self, setting: Setting) -> None:
        """Take what the next trials need."""
        ...

    def start(self, number: int, params: dict[str, Any], timeout_s: float) -> None:
        """Start a trial, which ends after `timeout_s` at the latest."""
        ...

    def resume(self, trials: Mapping[int, Begun]) -> None:
        """Go on with trials of an earlier process of this study, each by its own limit, and end whatever else of it still runs."""
        ...

    def answer(self, number: int, *, go: bool) -> None:
        """Let a judged trial go on, or end it."""
        ...

    def wait(self, timeout_s: float | None = None) -> list[Step | Ended]:
        """What trials have told; waits for something, at most `timeout_s`."""
        ...

    def drop(self) -> None:
        """End every trial that runs; nothing more is heard of them."""
        ...

    def close(self) -> None:
        """End every trial and release what is held."""
        ...
