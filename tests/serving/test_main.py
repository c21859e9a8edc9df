"""The server as a process: killed and started again, told to end, and what it never imports."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from maestro.core.principals import PrincipalRole
from tests.serving.conftest import ENTITY, Process, Trained, Workshop, eventually, node, split

pytestmark = pytest.mark.door

AT = "2026-01-01T00:00:00.000Z"


@pytest.fixture
def canary(workshop: Workshop, trained: Trained, worse: Trained) -> dict[str, str]:
    """A canary half of whose units go to a worse version; the header of somebody who may send labels and look."""
    a = workshop.register("1.0.0", {"model.onnx": trained.onnx}, trained.contract)
    b = workshop.register("1.1.0", {"model.onnx": worse.onnx}, worse.contract, statement="authorisation")
    workshop.graph({"a": node(a), "b": node(b), "ab": split("a", "b", 5000, experiment="canary")}, "ab")
    return {"Authorization": f"Bearer {workshop.key(PrincipalRole.SUBMITTER)}"}


def evidence(process: Process, header: dict[str, str]) -> dict[str, dict[str, int]]:
    document = httpx.get(f"{process.url}/admin/evidence/m", headers=header, trust_env=False).json()
    return {
        arm: {name: reading[name] for name in ("exposed", "eligible", "labelled", "wrong")}
        for arm, reading in document["arms"].items()
    }


@pytest.mark.shows("H10", "I10", env="laptop")
def test_kill_9_in_mid_canary_loses_no_accepted_label(
    canary: dict[str, str], trained: Trained, spawn: Callable[..., Process]
) -> None:
    first = spawn().wait_ready()
    accepted: list[int] = []
    stop = threading.Event()

    def label() -> None:
        with httpx.Client(base_url=first.url, trust_env=False) as client:
            for unit in range(10_000):
                row = trained.rows[unit % len(trained.rows)].tolist()
                try:
                    asked = client.post("/predict", json={"instances": [row], "entities": [{ENTITY: unit}]})
                    sent = client.post(
                        "/labels",
                        headers=canary,
                        json=[
                            {
                                "model": "m",
                                "entity": {ENTITY: unit},
                                "label": trained.answers[unit % len(trained.rows)],
                                "at": AT,
                            }
                        ],
                    )
                except httpx.TransportError:
                    return
                assert asked.status_code == 200, asked.text
                assert sent.status_code == 200, sent.text
                accepted.append(unit)
                if stop.is_set():
                    return

    thread = threading.Thread(target=label)
    thread.start()
    eventually(lambda: len(accepted) > 60, timeout_s=20)
    first.kill()
    stop.set()
    thread.join()
    second = spawn().wait_ready()
    arms = evidence(second, canary)
    # The last label may have been made durable without its acknowledgement having left.
    assert len(accepted) <= sum(arm["labelled"] for arm in arms.values()) <= len(accepted) + 1
    assert arms["a"]["wrong"] == 0
    assert arms["b"]["wrong"] == arms["b"]["labelled"] > 0
    with httpx.Client(base_url=second.url, trust_env=False) as client:
        again = client.post(
            "/labels",
            headers=canary,
            json=[{"model": "m", "entity": str(unit), "label": 1, "at": AT} for unit in accepted],
        ).json()
    assert again == {"accepted": len(accepted), "joined": 0, "duplicates": len(accepted)}


@pytest.mark.shows("F7", env="laptop")
def test_sigterm_answers_what_is_under_way_and_ends(
    canary: dict[str, str], trained: Trained, spawn: Callable[..., Process], workshop: Workshop
) -> None:
    process = spawn().wait_ready()
    outcomes: list[int] = []

    def ask() -> None:
        with httpx.Client(base_url=process.url, trust_env=False) as client:
            for unit in range(100_000):
                try:
                    response = client.post(
                        "/predict", json={"instances": [[12, 15, 80, 500]], "context": {ENTITY: unit}}
                    )
                except httpx.ConnectError:
                    return
                except (httpx.ReadError, httpx.RemoteProtocolError):
                    # A kept-alive connection that the server closed between two requests: nothing had been answered on it.
                    return
                outcomes.append(response.status_code)

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    eventually(lambda: len(outcomes) > 100, timeout_s=20)
    process.process.send_signal(signal.SIGTERM)
    assert process.process.wait(timeout=20) in (0, -signal.SIGTERM)
    for thread in threads:
        thread.join()
    assert set(outcomes) == {200}
    segments = list((workshop.home.exposures / "m" / "canary").glob("*.parquet"))
    import pyarrow.parquet as pq

    assert sum(pq.read_metadata(path).num_rows for path in segments) >= len(outcomes) // 3


def test_an_oversized_body_gets_its_answer(canary: dict[str, str], spawn: Callable[..., Process]) -> None:
    process = spawn().wait_ready()
    with httpx.Client(base_url=process.url, trust_env=False, timeout=60) as client:
        for path in ("/predict", "/labels"):
            response = client.post(path, content=iter([b" " * 2**20] * 100), headers=canary)
            assert response.status_code == 413, response.text
            assert "larger than" in response.json()["detail"]
        assert client.post("/predict", json={"instances": [[12, 15, 80, 500]]}).status_code == 200


PROGRAM = """
import asyncio, json, sys, pathlib
import httpx
from maestro.clients.home import Home
from maestro.core.settings import settings
from maestro.serving.engine.single import OneProcess, bound
from maestro.serving.server import ModelServer

async def main():
    process = OneProcess(ModelServer(Home(pathlib.Path(sys.argv[1])), settings()))
    sock = bound("127.0.0.1", 0)
    await process.start(sock)
    web = {"fastapi", "starlette", "uvicorn"} & set(sys.modules)
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{sock.getsockname()[1]}", trust_env=False) as client:
        answer = await client.post("/predict", json={"instances": [[12, 15, 80, 500]], "context": {"patient_id": "7"}})
        await client.get("/v2/health/ready")
        web |= {"fastapi", "starlette", "uvicorn"} & set(sys.modules)
        await client.get("/openapi.json")
    await process.stop()
    heavy = {"mlflow", "pandas", "sklearn", "feast", "sqlalchemy", "skops", "scipy", "evidently", "optuna"}
    print(json.dumps({"status": answer.status_code, "heavy": sorted(web | heavy & set(sys.modules))}))

asyncio.run(main())
"""


def test_the_server_imports_nothing_of_training(canary: dict[str, str], workshop: Workshop) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", PROGRAM, str(workshop.home.root)],
        env={**os.environ, "MAESTRO_SERVING__AUTH": "network"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"status": 200, "heavy": []}
    assert list((workshop.home.exposures / "m" / "canary").glob("*.parquet"))


def test_a_wrong_setting_ends_it_with_one_line(workshop: Workshop) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "maestro.serving.main", "--home", str(workshop.home.root)],
        env={**os.environ, "MAESTRO_SERVING__MAX_ROWS": "many"},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert "max_rows" in json.loads(done.stderr)["detail"]


def test_it_listens_on_this_machine_only(spawn: Callable[..., Process], canary: dict[str, str]) -> None:
    process = spawn().wait_ready()
    port = int(process.url.rpartition(":")[2])
    local = f"0100007F:{port:04X}"
    listening = [
        line.split()[1] for line in Path("/proc/net/tcp").read_text().splitlines()[1:] if line.split()[3] == "0A"
    ]
    assert local in listening
    assert f"00000000:{port:04X}" not in listening


def test_many_callers_at_once_are_all_answered(
    canary: dict[str, str], trained: Trained, worse: Trained, spawn: Callable[..., Process]
) -> None:
    process = spawn().wait_ready()
    answers = {"1.0.0": trained.answers, "1.1.0": worse.answers}

    def ask(worker: int) -> int:
        fine = 0
        with httpx.Client(base_url=process.url, trust_env=False) as client:
            for number in range(40):
                row = (worker * 40 + number) % len(trained.rows)
                response = client.post("/predict", json={"instances": [trained.rows[row].tolist()]})
                version = response.headers["x-maestro-version"]
                fine += response.json()["predictions"] == [answers[version][row]]
        return fine

    with ThreadPoolExecutor(16) as threads:
        assert sum(threads.map(ask, range(16))) == 640
    text = httpx.get(f"{process.url}/metrics", trust_env=False).text
    assert 'maestro_responses_total{status="200"} 640.0' in text
    started = time.monotonic()
    process.process.terminate()
    process.process.wait(timeout=10)
    assert time.monotonic() - started < 10
