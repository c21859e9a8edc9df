"""A worker that is killed takes the gRPC calls that it has in hand with it: callers hear `UNAVAILABLE`, and those that ask again by themselves hear nothing of it."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import grpc
import pytest

from maestro.serving.protocols.grpc.messages import SERVICE, messages
from tests.serving.conftest import Process, Trained, Workshop, eventually, free_port, node
from tests.serving.engine.test_parent_http import WORKERS, workers

RETRIES = {
    "methodConfig": [
        {
            "name": [{"service": SERVICE}],
            "waitForReady": True,
            "retryPolicy": {
                "maxAttempts": 5,
                "initialBackoff": "0.1s",
                "maxBackoff": "2s",
                "backoffMultiplier": 2,
                "retryableStatusCodes": ["UNAVAILABLE"],
            },
        }
    ]
}
"""What any client of gRPC takes as `grpc.service_config`."""
KILLS = 3


def ask(address: str, rows: Any, right: list[int], retries: bool, stop: threading.Event, told: Counter[str]) -> None:
    """Ask one call after the other; how each ended."""
    options = [("grpc.service_config", json.dumps(RETRIES))] if retries else [("grpc.enable_retries", 0)]
    kinds = messages()
    with grpc.insecure_channel(address, options=[*options, ("grpc.use_local_subchannel_pool", 1)]) as channel:
        infer: grpc.UnaryUnaryMultiCallable[Any, Any] = channel.unary_unary(
            f"/{SERVICE}/ModelInfer",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=kinds["ModelInferResponse"].FromString,
        )
        request = kinds["ModelInferRequest"](model_name="m")
        request.inputs.add(name="input-0", datatype="FP64", shape=rows.shape)
        request.raw_input_contents.append(rows.astype("<f8").tobytes())
        while not stop.is_set():
            try:
                answer = infer(request, timeout=20)
            except grpc.RpcError as error:
                told[error.code().name] += 1
                time.sleep(0.01)  # a channel that has lost its server fails at once until it tries again
                continue
            values = memoryview(answer.raw_output_contents[0]).cast("q").tolist()
            told["right" if values == right else "wrong"] += 1


@pytest.mark.e2e
@pytest.mark.shows("G11", "G20", env="laptop")
def test_callers_of_a_killed_worker_hear_unavailable_or_ask_again(
    workshop: Workshop, trained: Trained, spawn: Callable[..., Process]
) -> None:
    version = workshop.register("1.0.0", {"model.onnx": trained.onnx}, trained.contract)
    workshop.graph({"a": node(version)}, "a")
    address = f"127.0.0.1:{free_port()}"
    process = spawn(**WORKERS, MAESTRO_SERVING__GRPC=address).wait_ready()
    eventually(lambda: len(workers(process)) == 2, timeout_s=20)
    stop = threading.Event()
    plain, patient = Counter[str](), Counter[str]()
    threads = [
        threading.Thread(target=ask, args=(address, trained.rows[:4], trained.answers[:4], retries, stop, told))
        for retries, told in ((False, plain), (False, plain), (True, patient), (True, patient))
    ]
    for thread in threads:
        thread.start()
    for kill in range(KILLS):
        before = plain["right"] + patient["right"]
        eventually(lambda least=before: plain["right"] + patient["right"] > least + 200, timeout_s=30)  # type: ignore[misc]
        victim = workers(process)[kill % 2]
        os.kill(victim, signal.SIGKILL)
        eventually(lambda gone=victim: gone not in workers(process) and len(workers(process)) == 2, timeout_s=30)  # type: ignore[misc]
    stop.set()
    for thread in threads:
        thread.join()
    assert set(plain) <= {"right", "UNAVAILABLE"}, plain
    assert set(patient) == {"right"}, patient
