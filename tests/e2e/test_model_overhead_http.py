"""What one more model, or one more version, costs a running server in memory."""

from __future__ import annotations

from collections.abc import Callable

import httpx
import pytest

from tests.e2e.callers import memory_mib, processes, state_figures
from tests.serving.conftest import ENTITY, Process, Trained, Workshop, eventually, node, split

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

MIB = 100
MODELS = 4


def settled_mib(process: Process) -> float:
    """Memory once nothing is being prepared in a process beside it."""
    eventually(lambda: len(processes(process.process.pid)) == 1, 60)
    return memory_mib(process.process.pid)


@pytest.mark.shows("F9", env="laptop")
def test_one_more_model_or_version_costs_less_than_a_hundred_megabytes(
    workshop: Workshop,
    models: tuple[Trained, Trained],
    start: Callable[..., Process],
    record_property: Callable[[str, object], None],
) -> None:
    good, other = models
    first = workshop.register("1.0.0", {"model.onnx": good.onnx}, good.contract)
    workshop.graph({"a": node(first)}, "a")
    process = start()
    rows = good.rows[:8].tolist()

    def answers(model: str, trained: Trained) -> bool:
        body = {"model": model, "instances": rows, "entities": [{ENTITY: at} for at in range(len(rows))]}
        answer = httpx.post(f"{process.url}/predict", json=body, trust_env=False)
        return (
            answer.status_code == 200 and answer.json()["predictions"] == trained.model.predict(good.rows[:8]).tolist()
        )

    assert answers("m", good)
    alone = settled_mib(process)
    for at in range(MODELS):
        version = workshop.register("1.0.0", {"model.onnx": other.onnx}, other.contract, model=f"n{at}")
        workshop.graph({"a": node(version)}, "a", model=f"n{at}")
        eventually(lambda at=at: answers(f"n{at}", other), 60)  # type: ignore[misc]
    with_models = settled_mib(process)
    second = workshop.register("1.1.0", {"model.onnx": good.onnx}, good.contract)
    workshop.graph(
        {"s": split("champion", "challenger", 1000), "champion": node(first), "challenger": node(second)}, "s"
    )
    eventually(lambda: f'version="{second.version}"' in httpx.get(f"{process.url}/metrics", trust_env=False).text, 60)
    rolled_out = settled_mib(process)
    state_figures(
        record_property,
        server_mib=round(alone),
        mib_a_model=round((with_models - alone) / MODELS, 1),
        mib_a_version=round(rolled_out - with_models, 1),
    )
    assert (with_models - alone) / MODELS < MIB
    assert rolled_out - with_models < MIB
    assert answers("m", good)
