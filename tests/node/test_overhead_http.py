"""What one more model costs a model server's container in memory, by the kubelet's own figures."""

from __future__ import annotations

import json
import secrets
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from maestro.clients.home import Home
from maestro.clients.kubernetes.objects import Cluster
from tests.cluster.platform_stage import until
from tests.node.installation import missing_images
from tests.node.own_servers import own_servers
from tests.serving.conftest import ENTITY, Workshop, contract_of
from tests.serving.conftest import node as pinned

pytestmark = [pytest.mark.node, pytest.mark.timeout(300)]

MIB = 100
MORE = 3
TREES = 100


def forest(seed: int) -> tuple[bytes, Any, np.ndarray]:
    """A forest of a hundred trees over all thirty columns of the breast-cancer set, as ONNX; the model; its rows."""
    from skl2onnx import to_onnx
    from sklearn.datasets import load_breast_cancer
    from sklearn.ensemble import RandomForestClassifier

    rows, target = load_breast_cancer(return_X_y=True)
    rows = np.ascontiguousarray(rows, dtype=np.float32)
    model = RandomForestClassifier(TREES, random_state=seed).fit(rows, target)
    return to_onnx(model, rows[:1], options={id(model): {"zipmap": False}}).SerializeToString(), model, rows


@pytest.mark.door
@pytest.mark.shows("F9", env="cluster")
def test_one_more_model_costs_a_container_less_than_a_hundred_megabytes(node: Cluster, tmp_path: Path) -> None:
    if any("/model-server" in one for one in missing_images(node)):
        pytest.skip("the node lacks the model server's image: make images, with --load")
    shop = Workshop(Home(tmp_path))
    fitted = [forest(seed) for seed in range(1 + MORE)]

    def add(at: int) -> None:
        content, _, rows = fitted[at]
        version = shop.register("1.0.0", {"model.onnx": content}, contract_of(rows.astype(float)), model=f"m{at}")
        shop.graph({"a": pinned(version)}, "a", model=f"m{at}")

    with own_servers(node, f"model-overhead-{secrets.token_hex(3)}") as servers:
        add(0)
        url = servers.start("server", shop.home)

        def answers(at: int) -> bool:
            _, model, rows = fitted[at]
            body = {
                "model": f"m{at}", "instances": rows[:8].tolist(), "entities": [{ENTITY: str(n)} for n in range(8)],
            }  # fmt: skip
            told = httpx.post(f"{url}/predict", json=body, trust_env=False)
            return told.status_code == 200 and told.json()["predictions"] == model.predict(rows[:8]).tolist()

        until(lambda: answers(0), "the first model does not answer rightly", 30)
        alone = servers.memory("server")
        for at in range(1, 1 + MORE):
            add(at)
        servers.give("server", shop.home)
        for at in range(1 + MORE):
            until(lambda at=at: answers(at), f"model {at} does not answer rightly", 60)  # type: ignore[misc]
        together = servers.memory("server")
    each = (together - alone) / MORE
    print(
        json.dumps(
            {"one model MiB": round(alone, 1), "each further model MiB": round(each, 2), "bytes": len(fitted[1][0])}
        )
    )
    assert 30 < alone < together + 5
    assert each < MIB
