"""Traffic in a cluster: the graph in a ConfigMap is the only source; what carries it out follows, step by step, and may be killed between any two."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from maestro.clients.home import Home
from maestro.clients.kubernetes.connection import wait_until
from maestro.clients.kubernetes.objects import Cluster
from maestro.core.clock import Clock
from maestro.core.cluster import ClusterServing
from maestro.core.errors import BadInput, Conflict, Unreachable
from maestro.core.graph import InferenceGraph
from maestro.serving.admission import Admission
from maestro.serving.server import ENVIRONMENT
from maestro.serving.targets.graph_map import GraphMap

_POLL_S = 0.25


class Carrier(Protocol):
    """What carries a graph out.

    Obligations: `step` does at most one change, which is idempotent, and says what is still missing; it never gives traffic to pods that are not ready.
    """

    def check(self, graph: InferenceGraph) -> None:
        """Refuse a graph that it cannot carry out, before it is written.

        Raises:
            BadInput: it cannot.
        """
        ...

    def routed(self, graph: InferenceGraph) -> InferenceGraph:
        """The graph as it is really carried out: what a person changed by hand shows."""
        ...

    def step(self, graph: InferenceGraph) -> str | None:
        """One step towards it. None when there is nothing left to do; otherwise what was done (empty) or is waited for (a reason).

        Raises:
            Refused: it will never be reached without a change.
            Conflict: somebody wrote at the same time; the next step looks again.
        """
        ...


class KubernetesTarget:
    """Implements `maestro.core.seams.TrafficTarget` on a cluster.

    Versions are checked here against the trust policy before the graph is written, and again before it is carried out, since anybody with the right to may
    have edited the ConfigMap; servers check them once more.

    Args:
        cluster: the API server.
        options: names of objects.
        home: `$MAESTRO_HOME` of the control plane, with the versions and their statements.
        model: the graph's name.
        carrier: what carries weights out.
        trust_path: the trust policy; that of the home when None.
        environment: the environment whose statements count.
        allow_unsigned: as the servers are set.
    """

    def __init__(
        self,
        cluster: Cluster,
        options: ClusterServing,
        home: Home,
        model: str,
        carrier: Carrier,
        *,
        trust_path: Path | None = None,
        environment: str = ENVIRONMENT,
        allow_unsigned: bool = False,
    ) -> None:
        self._home = home
        self._model = model
        self._carrier = carrier
        self._map = GraphMap(cluster, options.namespace, options.graph, model)
        self._clock: Clock = cluster.clock
        self._admission = Admission(
            self._home, self._clock, trust_path=trust_path, environment=environment, allow_unsigned=allow_unsigned
        )

    def read(self) -> InferenceGraph | None:
        """The graph as it is in force: as the ConfigMap has it, with weights that a person gave to the route itself.

        Raises:
            BadInput: it is no graph (a foreign edit); the field is named.
        """
        graph = self._map.read()
        return None if graph is None else self._carrier.routed(graph)

    def write(self, graph: InferenceGraph, *, expected_revision: int | None) -> None:
        """Replace the graph by compare-and-swap on its revision; `wait_ready` carries it out."""
        if graph.metadata.name != self._model:
            raise BadInput(
                f"the graph is of {graph.metadata.name!r}, the target moves {self._model!r}",
                field="metadata.name",
                remedy="write it to its own target",
            )
        if graph.metadata.revision != (expected_revision or 0) + 1:
            raise BadInput(
                f"revision {graph.metadata.revision} does not follow {expected_revision or 0}",
                field="metadata.revision",
                remedy="raise the revision by one with every write",
            )
        self._carrier.check(graph)
        self._admission.check(graph)
        self._map.write(graph, expected_revision)

    def wait_ready(self, revision: int, timeout_s: float) -> None:
        """Carry the graph out and return when every version is loaded and warm, and requests go where it says."""
        deadline = self._clock.monotonic() + timeout_s
        while True:
            graph = self._map.read()
            found = None if graph is None else graph.metadata.revision
            missing: str | None = f"the graph is at revision {found}"
            if graph is not None and found == revision:
                missing = self._carry(graph)
                if missing is None:
                    return
            if missing and not wait_until(self._clock, deadline, _POLL_S):
                raise Unreachable(
                    f"the cluster does not serve revision {revision} of {self._model} after {timeout_s:g} s: {missing}",
                    remedy="see the pods of the model servers, and maestro deploy show",
                    component="model server",
                )

    def converge(self) -> bool:
        """One step towards the graph as it stands, whoever wrote it; whether anything is left to do.

        A foreign edit of the graph is carried out by this, after its versions were checked.

        Raises:
            Untrusted: it gives traffic to a version that lacks its statement; what is served stays.
        """
        graph = self._map.read()
        return graph is not None and self._carry(graph) is not None

    def _carry(self, graph: InferenceGraph) -> str | None:
        self._admission.check(graph)
        try:
            return self._carrier.step(graph)
        except Conflict as conflict:
            return conflict.detail  # somebody wrote at the same time: look again
