"""Two workers against one, each pinned to a core of its own, as `python -m bench training` measures it; needs two idle cores."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from bench.training import best

pytestmark = [pytest.mark.frameworks, pytest.mark.timeout(400)]


def busy(seconds: float = 2.0) -> float:
    """The share of all cores that other programs use."""

    def ticks() -> tuple[int, int]:
        fields = [int(text) for text in Path("/proc/stat").read_text().splitlines()[0].split()[1:]]
        return sum(fields), fields[3] + fields[4]

    all_before, idle_before = ticks()
    time.sleep(seconds)
    all_after, idle_after = ticks()
    return 1 - (idle_after - idle_before) / max(1, all_after - all_before)


@pytest.mark.shows("B9", env="laptop")
def test_two_workers_train_a_network_half_again_as_fast_at_least(record_property: Any) -> None:
    if len(os.sched_getaffinity(0)) < 2:
        pytest.skip("one core")
    if busy() > 0.1:
        pytest.skip("other programs use the cores")
    one, two = best("ddp", 1), best("ddp", 2)
    facts = {"one_s": one["seconds"], "two_s": two["seconds"], "faster": one["seconds"] / two["seconds"]}
    record_property("speed_up", json.dumps(facts))
    sys.stdout.write(json.dumps(facts) + "\n")
    assert two["loss"] == pytest.approx(one["loss"], abs=1e-4)
    assert facts["faster"] > 1.5
