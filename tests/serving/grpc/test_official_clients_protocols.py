"""tritonclient and kserve's client, unchanged, from an environment of their own: their pins of protobuf are not ours."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.serving.conftest import Serve, Trained, Workshop, node

PYTHON = os.environ.get("MAESTRO_TEST_OIP_CLIENTS", "")


@pytest.mark.skipif(not PYTHON, reason="MAESTRO_TEST_OIP_CLIENTS names no interpreter with tritonclient and kserve")
@pytest.mark.slow
def test_official_clients_work_unchanged(workshop: Workshop, trained: Trained, serve: Serve) -> None:
    workshop.graph({"a": node(workshop.register("1.0.0", {"model.onnx": trained.onnx}, trained.contract))}, "a")
    client = serve(grpc="127.0.0.1:0")
    http, grpc = client.url.removeprefix("http://"), f"127.0.0.1:{client.server.grpc_port}"
    script = Path(__file__).with_name("official_clients.py")
    rows = trained.rows[:10]
    done = subprocess.run(
        [PYTHON, str(script), http, grpc, "m", json.dumps(rows.tolist())],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    answers = json.loads(done.stdout.splitlines()[-1])
    assert answers == dict.fromkeys(("triton_http", "triton_grpc", "kserve_rest", "kserve_grpc"), trained.answers[:10])
