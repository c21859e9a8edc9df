"""The model that a fresh installation answers with: signed, admitted like any other, told by readiness."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from maestro.clients.home import Home
from maestro.core.clock import SystemClock
from maestro.security.trust import load_trust
from maestro.serving.sample import ONNX, VERSION, write_sample
from tests.serving.conftest import Serve, Trained, Workshop, node

PREDICT = {"instances": [[1, 2, 3, 4, 5]]}


def made() -> bytes:
    """The model from its formula."""
    from onnx import TensorProto, helper, numpy_helper

    weights = numpy_helper.from_array(np.array([[0.5], [-0.25], [1.0], [0.125], [2.0]]), "weights")
    bias = numpy_helper.from_array(np.array([1.0]), "bias")
    graph = helper.make_graph(
        [
            helper.make_node("MatMul", ["input", "weights"], ["product"]),
            helper.make_node("Add", ["product", "bias"], ["output"]),
        ],
        "sample",
        [helper.make_tensor_value_info("input", TensorProto.DOUBLE, [None, 5])],
        [helper.make_tensor_value_info("output", TensorProto.DOUBLE, [None, 1])],
        [weights, bias],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 15)], producer_name="maestro")
    model.ir_version = 8
    data: bytes = model.SerializeToString()
    return data


def run(home: Path, *words: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "maestro.serving.sample", "--home", str(home), *words],
        capture_output=True, text=True, timeout=60, check=False, env={**os.environ, "MAESTRO_HOME": str(home)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout) if done.stdout else {}
    return found


def test_the_bytes_are_those_of_the_formula() -> None:
    assert made() == ONNX


@pytest.mark.shows("G1", env="laptop")
def test_a_fresh_server_answers_the_promised_request_and_says_what_it_serves(workshop: Workshop, serve: Serve) -> None:
    assert run(workshop.home.root)["sample"] is True
    client = serve()
    answer = client.post("/predict", json=PREDICT)
    assert (answer.status_code, answer.json()) == (200, {"predictions": [14.5]})
    assert answer.headers["x-maestro-version"] == VERSION
    for address in ("/v2/health/ready", "/healthz", "/ping"):
        assert client.get(address).json()["sample"] is True, address
    assert client.post("/predict", json={"instances": [[1, 2]]}).status_code == 422


def test_nothing_to_sign_with_is_left_and_what_was_changed_is_refused(
    home: Path, serve: Serve, workshop: Workshop
) -> None:
    fresh = Home(home / "fresh")
    write_sample(fresh, SystemClock(), fresh.trust_policy)
    assert not list(fresh.root.rglob("*.pem"))
    assert len(load_trust(fresh.trust_policy).keys) == 2
    write_sample(workshop.home, SystemClock(), workshop.home.trust_policy)
    model = workshop.home.version("sample", VERSION) / "files/model.onnx"
    model.write_bytes(model.read_bytes()[:-1] + b"\x10")
    client = serve()
    assert client.get("/v2/health/ready").status_code == 503


def test_a_home_with_a_release_is_left_alone(workshop: Workshop, trained: Trained, serve: Callable[..., Any]) -> None:
    version = workshop.register("1.0.0", {"model.onnx": trained.onnx}, trained.contract)
    workshop.graph({"a": node(version)}, "a")
    assert run(workshop.home.root)["sample"] is False
    assert not workshop.home.version("sample", VERSION).exists()
    assert serve().get("/v2/health/ready").json()["sample"] is False


def test_the_installations_keys_are_taken_in(workshop: Workshop, tmp_path: Path) -> None:
    installed = tmp_path / "installed.json"
    installed.write_bytes(workshop.home.trust_policy.read_bytes())
    other = Home(tmp_path / "pod")
    run(other.root, "--installed-trust", str(installed))
    wanted = {key.keyid for key in load_trust(workshop.home.trust_policy).keys}
    keys = {key.keyid for key in load_trust(other.trust_policy).keys}
    assert wanted < keys
    assert len(keys) == 4
    third = Home(tmp_path / "router")
    run(third.root, "--installed-trust", str(installed), "--keys-only")
    assert {key.keyid for key in load_trust(third.trust_policy).keys} == wanted
    assert not third.graphs.exists()


def test_a_graph_that_is_mounted_comes_before_the_sample(workshop: Workshop, trained: Trained, tmp_path: Path) -> None:
    version = workshop.register("1.0.0", {"model.onnx": trained.onnx}, trained.contract)
    workshop.graph({"a": node(version)}, "a")
    mounted, pod = tmp_path / "graph", Home(tmp_path / "pod")
    mounted.mkdir()
    assert run(pod.root, "--graphs", str(mounted))["sample"] is True, (
        "an optional ConfigMap that is away is an empty folder"
    )
    (mounted / "m.yaml").write_text(workshop.home.graph("m").read_text())
    other = Home(tmp_path / "other")
    assert run(other.root, "--graphs", str(mounted))["sample"] is False
    assert other.graph("m").read_text() == workshop.home.graph("m").read_text()
