"""What slots counted, under the names and the revision of the graph between them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest

from maestro.core.errors import Unreachable
from maestro.core.graph import InferenceGraph
from maestro.core.seams import ArmReading, Reading
from maestro.serving.targets.slot_readings import SlotReadings


@dataclass
class Counted:
    """A source that was asked once."""

    champion: str = "1.0.0"

    def read(self, model: str, label_wait_s: float) -> Reading:
        versions = {"champion": self.champion, "challenger": "1.1.0"}
        arms = {name: ArmReading(version=version, requests={"ok": 7}, latency={}) for name, version in versions.items()}
        return Reading(at=datetime(2026, 1, 1, tzinfo=UTC), epoch="e", revision=1, arms=arms)


class Between:
    """A target whose graph stands at revision 4."""

    def read(self) -> InferenceGraph:
        def node(version: str) -> dict[str, Any]:
            return {"type": "model", "model": "m", "version": version, "digest": "sha256:" + "0" * 64}

        arms = [{"node": "champion-3", "weight": 9000}, {"node": "challenger-3", "weight": 1000}]
        split = {"type": "split", "arms": arms, "fallback": "champion-3"}
        nodes = {"split": split, "champion-3": node("1.0.0"), "challenger-3": node("1.1.0")}
        return InferenceGraph.model_validate(
            {"metadata": {"name": "m", "revision": 4}, "root": "split", "nodes": nodes}
        )


def readings(source: Counted) -> Reading:
    return SlotReadings(source, lambda _: Between()).read("m", 0.0)  # type: ignore[arg-type,return-value]  # only `read` is asked


def test_slots_count_under_the_graphs_names_and_revision() -> None:
    found = readings(Counted())
    assert found.revision == 4
    assert {name: arm.version for name, arm in found.arms.items()} == {"champion-3": "1.0.0", "challenger-3": "1.1.0"}


def test_a_slot_that_still_serves_another_version_gives_no_evidence() -> None:
    with pytest.raises(Unreachable, match="slot champion serve"):
        readings(Counted(champion="0.9.0"))
