"""What the workers of one server share: the gRPC port, its TLS and its limits, circuit breakers, the watch on the traffic."""

from __future__ import annotations

import signal
import ssl
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import httpx
import numpy as np
import pyarrow.parquet as pq
import pytest

from maestro.clients.home import Home
from maestro.core.principals import PrincipalRole
from maestro.serving.protocols.grpc.messages import SERVICE, messages
from tests.serving.conftest import Process, Serve, Trained, Workshop, eventually, free_port, node
from tests.serving.test_oidc_http import certificate

pytestmark = pytest.mark.door

DEAD = "http://127.0.0.1:9/v2/models/m"


def infer(channel: grpc.Channel, rows: np.ndarray, **metadata: str) -> tuple[list[int], dict[str, str]]:
    """What a model answers, and the trailing metadata."""
    kinds = messages()
    request = kinds["ModelInferRequest"](model_name="m")
    request.inputs.add(name="input-0", datatype="FP64", shape=rows.shape)
    request.raw_input_contents.append(rows.astype("<f8").tobytes())
    call: grpc.UnaryUnaryMultiCallable[Any, Any] = channel.unary_unary(
        f"/{SERVICE}/ModelInfer",
        request_serializer=lambda message: message.SerializeToString(),
        response_deserializer=kinds["ModelInferResponse"].FromString,
    )
    answer, done = call.with_call(request, metadata=tuple(metadata.items()), timeout=10)
    trailing = {str(key): str(value) for key, value in done.trailing_metadata() or ()}
    return np.frombuffer(answer.raw_output_contents[0], "<i8").tolist(), trailing


def secure(port: int, root: bytes) -> grpc.Channel:
    """A channel of its own connection."""
    options = [("grpc.use_local_subchannel_pool", 1)]
    return grpc.secure_channel(f"localhost:{port}", grpc.ssl_channel_credentials(root), options)


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    return certificate(tmp_path)


def test_the_grpc_port_speaks_tls_where_the_data_port_does_and_limits_alike(
    workshop: Workshop, trained: Trained, serve: Serve, pair: tuple[Path, Path]
) -> None:
    workshop.graph({"a": node(workshop.register("1.0.0", {"model.onnx": trained.onnx}, trained.contract))}, "a")
    key = workshop.key(PrincipalRole.VIEWER)
    client = serve(grpc="127.0.0.1:0", tls_cert=pair[0], tls_key=pair[1], auth="key", rate_per_s=0.01, rate_burst=5)
    port = client.server.grpc_port
    assert port is not None
    bearer = f"Bearer {key}"
    with secure(port, pair[0].read_bytes()) as channel:
        answers = [infer(channel, trained.rows[:2], authorization=bearer)[0] for _ in range(3)]
        assert answers == [trained.answers[:2]] * 3
        # One budget for both ports: two are left for HTTP.
        context = ssl.create_default_context(cafile=str(pair[0]))
        url = client.url.replace("http://127.0.0.1", "https://localhost")
        with httpx.Client(base_url=url, verify=context, trust_env=False, headers={"Authorization": bearer}) as https:
            rows = {"instances": trained.rows[:1].tolist()}
            assert [https.post("/predict", json=rows).status_code for _ in range(3)] == [200, 200, 429]
        with pytest.raises(grpc.RpcError) as refused:
            infer(channel, trained.rows[:2], authorization=bearer)
        assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        with pytest.raises(grpc.RpcError) as unknown:
            infer(channel, trained.rows[:2])
        assert unknown.value.code() is grpc.StatusCode.UNAUTHENTICATED
    with grpc.insecure_channel(f"127.0.0.1:{port}") as plain, pytest.raises(grpc.RpcError) as closed:
        infer(plain, trained.rows[:2], authorization=bearer)
    assert closed.value.code() is grpc.StatusCode.UNAVAILABLE


def gauge(process: Process, name: str) -> dict[str, float]:
    """The series of a gauge by their labels, as text."""
    text = httpx.get(f"{process.url}/metrics", trust_env=False).text
    lines = [line for line in text.splitlines() if line.startswith(name + "{")]
    return {line.partition("{")[2].rpartition("}")[0]: float(line.rpartition(" ")[2]) for line in lines}


@pytest.fixture
def shared(workshop: Workshop, trained: Trained, spawn: Callable[..., Process]) -> tuple[Process, int]:
    """Two workers with a model, a remote node that nobody answers for, and a gRPC port."""
    workshop.graph({"a": node(workshop.register("1.0.0", {"model.onnx": trained.onnx}, trained.contract))}, "a")
    workshop.graph({"r": {"type": "remote", "url": DEAD, "timeout_ms": 500}}, "r", model="gone")
    port = free_port()
    process = spawn(
        MAESTRO_SERVING__WORKERS="2",
        MAESTRO_SERVING__GRPC=f"127.0.0.1:{port}",
        MAESTRO_SERVING__PAYLOAD_ROWS_PER_S="1000",
    ).wait_ready()
    return process, port


@pytest.mark.shows("G10", "I8", env="laptop")
def test_breakers_the_watch_and_the_grpc_port_are_one_for_all_workers(
    shared: tuple[Process, int], workshop: Workshop, trained: Trained
) -> None:
    process, port = shared
    # gRPC: connections are spread over the workers, and each answers.
    options = [("grpc.use_local_subchannel_pool", 1)]
    for _ in range(8):
        with grpc.insecure_channel(f"127.0.0.1:{port}", options) as channel:
            found, trailing = infer(channel, trained.rows[:3])
            assert found == trained.answers[:3]
            assert trailing["x-maestro-version"] == "1.0.0"
    text = httpx.get(f"{process.url}/metrics", trust_env=False).text
    assert 'maestro_responses_total{status="200"} 8.0' in text

    # Breakers: failures of all workers count together, and what is open is open for every connection.
    body = {"model": "gone", "instances": [[1.0, 2.0]]}
    said = Counter[str]()
    for _ in range(40):
        answer = httpx.post(f"{process.url}/predict", json=body, trust_env=False)
        assert answer.status_code == 503
        said["open" if "failed too often" in answer.text else "asked"] += 1
        if said["open"]:
            assert int(answer.headers["retry-after"]) >= 1
    assert 10 <= said["asked"] <= 12, "ten failures in all, not ten of each worker, and at most what was under way"
    states = gauge(process, "maestro_breaker_state")
    assert (states[f'model="{DEAD}"'], states['model="m"']) == (2.0, 0.0)

    # The watch: anonymous rows through either worker are one stream, whose first thousand are known after as many in all.
    sent = 24
    for start in range(sent):
        rows = trained.rows[start * 20 : start * 20 + 66].tolist()
        answer = httpx.post(f"{process.url}/predict", json={"model": "m", "instances": rows}, trust_env=False)
        assert answer.status_code == 200
    eventually(lambda: 'column="x0",dataset="m@1.0.0"' in gauge(process, "maestro_drift_effect"), timeout_s=10)
    process.process.terminate()
    process.process.wait(timeout=20)
    kept = [pq.read_table(path).num_rows for path in workshop.home.payloads.glob("m/1.0.0/*.parquet")]
    assert sum(kept) == sent * 66 + 24, "each row of HTTP and gRPC once"


@pytest.mark.e2e
@pytest.mark.shows("G10", "G11", env="laptop")
def test_a_breaker_that_opened_for_all_closes_for_all(
    workshop: Workshop, trained: Trained, spawn: Callable[..., Process], tmp_path: Path
) -> None:
    other = Workshop(Home(tmp_path / "behind"))
    other.graph({"a": node(other.register("1.0.0", {"model.onnx": trained.onnx}, trained.contract))}, "a")
    behind = spawn(other.home).wait_ready()
    url = f"{behind.url}/v2/models/m"
    workshop.graph({"r": {"type": "remote", "url": url, "timeout_ms": 100}}, "r")
    process = spawn(MAESTRO_SERVING__WORKERS="2").wait_ready()
    body = {"instances": trained.rows[:2].tolist()}

    def ask() -> httpx.Response:
        return httpx.post(f"{process.url}/predict", json=body, trust_env=False)

    assert ask().json() == {"predictions": trained.answers[:2]}
    behind.process.send_signal(signal.SIGSTOP)
    try:
        eventually(lambda: "failed too often" in ask().text, timeout_s=20)
        assert all(ask().status_code == 503 for _ in range(8))
        assert gauge(process, "maestro_breaker_state")[f'model="{url}"'] == 2.0
    finally:
        behind.process.send_signal(signal.SIGCONT)
    began = time.monotonic()
    eventually(lambda: ask().status_code == 200, timeout_s=20)
    assert time.monotonic() - began < 15
    assert gauge(process, "maestro_breaker_state")[f'model="{url}"'] == 0.0
    assert [ask().status_code for _ in range(12)] == [200] * 12
