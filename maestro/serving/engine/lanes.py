"""Which lane takes a request."""

from __future__ import annotations

from maestro.serving.dataplane import DataPlane
from maestro.serving.engine.lane import Lane
from maestro.serving.engine.remote_lane import RemoteLane
from maestro.serving.graph._base import Call, Unit
from maestro.serving.graph.arm import Arm
from maestro.serving.graph.model import ModelNodeRunner
from maestro.serving.graph.remote import RemoteRunner
from maestro.serving.graph.split import SplitRunner, fresh_draw
from maestro.serving.served import ServedGraph
from maestro.serving.table import Table


class Lanes:
    """The lanes of one revision: that of its model, or one for each arm of its split. What has none goes to the data plane."""

    def __init__(self, served: ServedGraph, plane: DataPlane) -> None:
        root = served.root
        self._split = root if isinstance(root, SplitRunner) else None
        self._lanes: dict[str, Lane | RemoteLane | None]
        if self._split is None:
            self._lanes = {"": _lane(served, root, plane, Call(Table()))}
        else:
            assigned = self._split.assigned
            self._lanes = {
                name: _lane(served, arm, plane, assigned(name, Call(Table()))) for name, arm in self._split.arms.items()
            }

    def choose(self, units: tuple[Unit, ...]) -> tuple[Lane | RemoteLane | None, str | None]:
        """The lane of a request, and the draw by which it was chosen when its unit has no key: asked again, the request stays with its arm."""
        split = self._split
        if split is None:
            return self._lanes[""], None
        if len(units) != 1:
            return None, None
        key = units[0].key(split.key)
        draw = fresh_draw() if key is None else None
        return self._lanes[split.choose(key, draw)], draw


def _lane(served: ServedGraph, arm: object, plane: DataPlane, call: Call) -> Lane | RemoteLane | None:
    if not isinstance(arm, Arm):
        return None
    inner = arm.inner
    if isinstance(inner, RemoteRunner):
        return RemoteLane(served, arm, inner, plane, call)
    if not isinstance(inner, ModelNodeRunner):
        return None
    loaded = inner.loaded
    if not loaded.runtime.inline or not loaded.validator.plain:
        return None
    return Lane(served, arm, inner, plane.metrics, call, plane.max_rows)
