"""Where the story is told, and all in which one place differs from another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from maestro.clients.home import Home
from maestro.core.events import Event
from maestro.core.seams import Progress

if TYPE_CHECKING:
    from pathlib import Path

    from maestro.clients.feast import FeatureRepository
    from maestro.lifecycle.demo.traffic import Caller
    from maestro.training.datasets import Dataset

Steps = tuple[tuple[str, str], ...]
"""Module below `steps/` and title, in order."""


@dataclass(frozen=True)
class Pace:
    """How fast a place is.

    Args:
        rate: requests that the callers send a second, at most.
        traffic: what the prediction of a rollout's length assumes.
        patience: by how much the story's time limits are longer than on a laptop.
    """

    rate: float
    traffic: Mapping[str, float]
    patience: float = 1.0


@dataclass(frozen=True)
class Setting:
    """What a place says of itself before anything runs.

    Args:
        where: in words, for the report.
        home: keys, trust policy and `state.json` by which the platform is found, and the data that the callers are drawn from.
        model: the model's name.
        pace: how fast it is.
        draws: whether commands can draw Evidently's report.
        own_steps: steps that only this place can show, by the module after which they come.
    """

    where: str
    home: Home
    model: str
    pace: Pace
    draws: bool = True
    own_steps: Mapping[str, Steps] = field(default_factory=dict)


class Place(Protocol):
    """A platform on which the story is told.

    Obligations: `running` fills the home, so that every service is found by it while the block lasts, and puts back what it changed; the other methods
    are called inside that block, from one thread at a time. The platform is changed through its own doors alone; only the graph is written past them,
    as a person with the right to it may.
    """

    @property
    def setting(self) -> Setting:
        """What the steps need to know of it."""
        ...

    def running(self, progress: Progress) -> AbstractContextManager[Sequence[str]]:
        """The platform, ready for as long as the block lasts; gives the names of its parts.

        Raises:
            BadInput: it is not there; what is missing is named.
        """
        ...

    def features(self) -> FeatureRepository:
        """The feature repository, with its registry where the platform has it."""
        ...

    def bring_online(self, sets: Mapping[str, Dataset], progress: Progress) -> None:
        """Fill the online store with what `features()` was told of, and have training find the same data."""
        ...

    def online(self, service: str, entities: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Features by entity from the online store."""
        ...

    def equipped(self, service: str, callers: Sequence[Caller]) -> Sequence[Caller]:
        """The callers with all that their requests have to carry."""
        ...

    def deliver(self, path: Path) -> str:
        """Bring a file to where training and commands run; its name there."""
        ...

    def command(self, *words: str, timeout_s: float = 120.0) -> dict[str, Any]:
        """What `maestro WORDS --json` prints where the platform runs.

        Raises:
            NegativeVerdict: it failed; its last lines are in the message.
        """
        ...

    def graph(self) -> str:
        """The text of the model's graph, as it is in force."""
        ...

    def write_graph(self, text: str) -> None:
        """Replace it by hand, without asking the control plane."""
        ...

    def events(self) -> list[Event]:
        """The event log's entries of rollouts."""
        ...
