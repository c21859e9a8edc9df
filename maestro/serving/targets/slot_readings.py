"""Evidence of slots: their servers know one version each and nothing of the graph between them, so its revision is taken from where it is carried out."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from maestro.core.clock import Clock, SystemClock
from maestro.core.errors import Unreachable
from maestro.core.graph import InferenceGraph, ShadowNode, SplitNode
from maestro.core.seams import MetricSource, Reading, TrafficTarget


class SlotReadings:
    """Implements `maestro.core.seams.MetricSource` over one that reads the slots' servers.

    Args:
        source: of the servers' counters; their own revision is that of a slot's graph and says nothing.
        target: of a model's traffic.
    """

    def __init__(
        self, source: MetricSource, target: Callable[[str], TrafficTarget], clock: Clock | None = None
    ) -> None:
        self._source = source
        self._target = target
        self._clock = clock or SystemClock()
        self._last: dict[str, tuple[Reading, datetime]] = {}

    def read(self, model: str, label_wait_s: float) -> Reading:
        """The slots' counters under the revision that is in force.

        Servers are scraped one after another: until each was scraped again the reading before is given, so that a look never holds one slot alone.

        Raises:
            Unreachable: a slot's servers serve another version than the graph gives it, such as while pods are replaced.
            MaestroError: as the source's.
        """
        graph = self._target(model).read()
        reading = self._source.read(model, label_wait_s)
        if graph is None:
            return reading
        names, versions = node_names(graph), {name: node.version for name, node in graph.models().items()}
        for slot, seen in reading.arms.items():
            if slot in names and versions[names[slot]] != seen.version:
                raise Unreachable(
                    f"the servers of slot {slot} serve {seen.version}, the graph gives it {versions[names[slot]]}",
                    remedy="wait until its pods are replaced", component="model server",
                )  # fmt: skip
        arms = {names.get(slot, slot): seen for slot, seen in reading.arms.items()}
        made = reading.model_copy(update={"revision": graph.metadata.revision, "arms": arms})
        if (last := self._last.get(model)) is not None:
            before, asked = last
            if made.at <= asked and (made.epoch, made.revision) == (before.epoch, before.revision):
                return before
        self._last[model] = (made, self._clock.now())
        return made


def node_names(graph: InferenceGraph) -> dict[str, str]:
    """The graph's nodes by the slot that serves them; a slot's servers know themselves by the slot's name.

    >>> from maestro.core.graph import GraphMetadata, ModelNode
    >>> node = ModelNode(model="m", version="1.0.0", digest="sha256:" + "0" * 64)
    >>> node_names(InferenceGraph(metadata=GraphMetadata(name="m", revision=1), root="only", nodes={"only": node}))
    {'champion': 'only'}
    """
    root = graph.nodes[graph.root]
    if isinstance(root, ShadowNode):
        return {"champion": root.primary, "challenger": root.mirror}
    if isinstance(root, SplitNode):
        first = root.fallback or root.arms[0].node
        others = [arm.node for arm in root.arms if arm.node != first]
        return {"champion": first} | ({"challenger": others[0]} if others else {})
    return {"champion": graph.root}
