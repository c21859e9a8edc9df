"""The official clients of the protocols, unchanged, from an environment of their own: their pins of protobuf are not ours."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from maestro.core.principals import PrincipalRole
from tests.serving.conftest import Process, Trained, Workshop, free_port, node

PYTHON = os.environ.get("MAESTRO_TEST_OIP_CLIENTS", "")
WITH_KEYS = ("triton_http", "triton_grpc", "kserve_rest", "kserve_grpc")

pytestmark = [
    pytest.mark.skipif(
        not PYTHON, reason="MAESTRO_TEST_OIP_CLIENTS names no interpreter with tritonclient, kserve and mlflow"
    ),
    pytest.mark.slow,
    pytest.mark.timeout(300),
]


def answers(process: Process, grpc: str, trained: Trained, key: str, client: str) -> list[Any]:
    """What a client got for ten rows, each way it has of asking. Each runs alone: two of them register one protocol's messages."""
    asked = {
        "http": process.url.removeprefix("http://"),
        "grpc": grpc,
        "model": "m",
        "rows": trained.rows[:10].tolist(),
        "columns": list(trained.contract.names),
        "key": key,
        "clients": [client],
    }
    script = Path(__file__).with_name("official_clients.py")
    done = subprocess.run(
        [PYTHON, str(script), json.dumps(asked)], capture_output=True, text=True, timeout=200, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, list[Any]] = json.loads(done.stdout.splitlines()[-1])
    return found[client]


@pytest.mark.parametrize("workers", ["1", "2"], ids=["one process", "two workers"])
def test_official_clients_work_unchanged(
    workshop: Workshop, trained: Trained, spawn: Callable[..., Process], workers: str
) -> None:
    workshop.graph({"a": node(workshop.register("1.0.0", {"model.onnx": trained.onnx}, trained.contract))}, "a")
    key = workshop.key(PrincipalRole.VIEWER)
    grpc = f"127.0.0.1:{free_port()}"
    common = {"MAESTRO_SERVING__WORKERS": workers, "MAESTRO_SERVING__GRPC": grpc}
    process = spawn(**common, MAESTRO_SERVING__AUTH="key").wait_ready(120)
    for client in WITH_KEYS:
        found = answers(process, grpc, trained, key, client)
        assert len(found) >= 2, client
        assert found == [trained.answers[:10]] * len(found), client


def test_mlflows_client_works_unchanged(workshop: Workshop, trained: Trained, spawn: Callable[..., Process]) -> None:
    workshop.graph({"a": node(workshop.register("1.0.0", {"model.onnx": trained.onnx}, trained.contract))}, "a")
    process = spawn().wait_ready(120)
    assert answers(process, "", trained, "", "mlflow_client") == [trained.answers[:10]] * 3
