"""Evidence of slots: their servers know one version each and nothing of the graph between them, so its revision is taken from where it is carried out."""

from __future__ import annotations

from collections.abc import Callable

from maestro.core.errors import Unreachable
from maestro.core.seams import MetricSource, Reading, TrafficTarget


class SlotReadings:
    """Implements `maestro.core.seams.MetricSource` over one that reads the slots' servers.

    Args:
        source: of the servers' counters; their own revision is that of a slot's graph and says nothing.
        target: of a model's traffic.
    """

    def __init__(self, source: MetricSource, target: Callable[[str], TrafficTarget]) -> None:
        self._source = source
        self._target = target

    def read(self, model: str, label_wait_s: float) -> Reading:
        """The slots' counters under the revision that is in force.

        Raises:
            Unreachable: a slot's servers serve another version than the graph gives it, such as while pods are replaced.
            MaestroError: as the source's.
        """
        graph = self._target(model).read()
        reading = self._source.read(model, label_wait_s)
        if graph is None:
            return reading
        wanted = {name: node.version for name, node in graph.models().items()}
        for arm, seen in reading.arms.items():
            if wanted.get(arm, seen.version) != seen.version:
                raise Unreachable(
                    f"the servers of arm {arm} serve {seen.version}, the graph gives it {wanted[arm]}",
                    remedy="wait until its pods are replaced", component="model server",
                )  # fmt: skip
        return reading.model_copy(update={"revision": graph.metadata.revision})
