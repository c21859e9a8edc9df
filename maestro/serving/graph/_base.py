"""What a node of the inference graph owes the nodes above it."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol

from maestro.core.contract import ModelContract
from maestro.core.errors import BadInput, MaestroError
from maestro.core.graph import InferenceGraph
from maestro.serving.graph.drawn import Drawn
from maestro.serving.metrics import ServerMetrics
from maestro.serving.runtimes._base import ModelTimeout
from maestro.serving.table import Batch, Prediction, Table

if TYPE_CHECKING:
    from maestro.serving.policies import Policies
    from maestro.serving.sampling import Sampler

ANY_KEY = "*"
"""The name under which a caller gives a value for whichever key the split names."""


@dataclass(frozen=True, slots=True)
class Unit:
    """Who a row is about.

    Args:
        entity: the entity key text (values of the contract's entity keys joined by `|`), None when the request names nobody.
        keys: values by name that a split may be sticky by, as text.
    """

    entity: str | None = None
    keys: tuple[tuple[str, str], ...] = ()

    def key(self, name: str | None) -> str | None:
        """The text a split sticks to: the value of `name`; None when the split names no key, or the request no value."""
        if name is None:
            return None
        for key, value in self.keys:
            if key in (name, ANY_KEY):
                return value
        return None


NOBODY = Unit()


@dataclass(frozen=True, slots=True)
class Ended:
    """How an attempt of a node failed before its request came to the graph: the node fails with it and asks nobody.

    Args:
        node: its name.
        started: when the attempt began, by `time.perf_counter`.
    """

    node: str
    error: MaestroError
    started: float


@dataclass(frozen=True, slots=True)
class Call:
    """One request on its way through the graph.

    Args:
        units: one a row, or a single one for all rows.
        first: whether the attempt counts as the arm's own; False when the arm stands in for another.
        offload: the event loop must not be kept waiting, however quick the model is (a shadow's copy).
        experiment: the experiment that the request takes part in, named by a split on its way.
        propensity: the probability with which it was sent here.
        key: the name of the value that the experiment's split sticks to.
        drawn: what a bandit on its way decided.
        draw: by which splits assign a request that names no key, when that has been drawn already; asking again changes no assignment.
        ended: the attempt of the node that it is assigned to, when that has been made and failed.
    """

    table: Table
    units: tuple[Unit, ...] = (NOBODY,)
    first: bool = True
    offload: bool = False
    experiment: str | None = None
    propensity: float = 1.0
    key: str | None = None
    drawn: Drawn | None = None
    draw: str | None = None
    ended: Ended | None = None

    def stand_in(self) -> Call:
        """The same call for an arm that answers in another's place."""
        return replace(self, first=False, ended=None)


@dataclass(frozen=True, slots=True)
class Answer:
    """A prediction and where it came from.

    Args:
        version: the version that answered; several joined by `+` (composed) or `,` (rows of one request on several arms).
        arm: the arm that the request was assigned to.
        fallback: the node that answered in its place, None when the arm answered itself.
        batch: the rows as a model took them, when one model took them all.
        failed: how the node that was asked first failed, when another answered in its place below the arm.
        reward_id: by what a reward for this answer is sent; None unless a bandit decided for one unit.
    """

    prediction: Prediction
    version: str
    arm: str
    fallback: str | None = None
    batch: Batch | None = None
    failed: str | None = None
    reward_id: str | None = None


def outcome_of(error: MaestroError) -> str:
    """What a failed attempt counts as: `timeout`, `contract` (the rows are at fault) or `error`."""
    if isinstance(error, ModelTimeout):
        return "timeout"
    return "contract" if isinstance(error, BadInput) else "error"


class GraphNode(Protocol):
    """One node.

    Obligations: `answer` gives one value a row in order, or raises a MaestroError (BadInput when the rows are at fault, Unreachable when the
    node is); it keeps no state of a request; it may be awaited many times at once; it never outlives its own timeout by more than the
    event loop's latency. `version` names what answers; `contracts` are those of the models below, the first being what callers must satisfy.
    """

    name: str
    version: str

    @property
    def contracts(self) -> tuple[ModelContract, ...]:
        """Contracts of the models at or below this node, in the order in which they are asked."""
        ...

    async def answer(self, call: Call) -> Answer:
        """Predict."""
        ...


Observe = Callable[["Observation"], None]


@dataclass(frozen=True, slots=True)
class Observation:
    """An arm's first attempt, as evidence and exposures see it.

    Args:
        key: the name of the value that the split sticks to.
        prediction: None unless `outcome` is `ok`.
        batch: the rows as the arm's model took them.
        contract: the arm's contract.
        drawn: what a bandit decided, when one did.
    """

    arm: str
    version: str
    revision: int
    experiment: str | None
    propensity: float
    key: str | None
    units: tuple[Unit, ...]
    prediction: Prediction | None
    batch: Batch | None
    contract: ModelContract | None
    latency_s: float
    outcome: str
    drawn: Drawn | None = None

    def context(self, row: int) -> list[float] | None:
        """The row's numbers that the contract lets out: neither text nor personal data; missing values are NaN."""
        if self.batch is None or self.contract is None:
            return None
        return [
            float(self.batch.column(position)[row])
            for position, feature in enumerate(self.contract.features)
            if not feature.pii and feature.type != "string"
        ]


@dataclass
class Build:
    """What the nodes of one graph are built from.

    Args:
        graph: the graph.
        metrics: where arms count.
        leaf: makes the node of a model or a remote.
        observe: called after each first attempt of an arm.
        spawn: starts work that nobody waits for.
        nodes: the nodes built so far, by name.
        policies: what bandits act on; None where there are none.
        sampler: takes some of the rows and answers of each arm.
    """

    graph: InferenceGraph
    metrics: ServerMetrics
    leaf: Callable[[str], GraphNode]
    observe: Observe
    spawn: Callable[[Coroutine[Any, Any, None]], None]
    nodes: dict[str, GraphNode] = field(default_factory=dict)
    policies: Policies | None = None
    sampler: Sampler | None = None
    make: Callable[[str, Build], GraphNode] | None = None

    def node(self, name: str) -> GraphNode:
        """The node called `name`, built once however often it is named."""
        if name not in self.nodes:
            assert self.make is not None  # noqa: S101 - build_graph sets it before anything is built
            self.nodes[name] = self.make(name, self)
        return self.nodes[name]
