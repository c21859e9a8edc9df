"""The model server at the sizes that are promised: a thousand swaps, ten thousand open connections."""

from __future__ import annotations

import asyncio
import json
import resource
import threading
import time
from collections import Counter
from pathlib import Path

import httpx
import pytest

from maestro.clients.home import Home
from tests.serving.conftest import Trained, Workshop, _fit, eventually, node, process_of

pytestmark = [pytest.mark.e2e, pytest.mark.door]

SWAPS = 1000
CONNECTIONS = 10_000


@pytest.fixture(scope="module")
def models() -> tuple[Trained, Trained]:
    """One model, and one that answers otherwise."""
    return _fit(flip=False), _fit(flip=True)


@pytest.fixture
def workshop(tmp_path: Path) -> Workshop:
    """A home of its own."""
    home = tmp_path / "home"
    home.mkdir()
    return Workshop(Home(home))


@pytest.mark.shows("G5", "L15", env="laptop")
def test_a_thousand_swaps_under_load_fail_no_request(
    workshop: Workshop, models: tuple[Trained, Trained], tmp_path: Path
) -> None:
    good, other = models
    one = workshop.register("1.0.0", {"model.onnx": good.onnx}, good.contract)
    two = workshop.register("1.1.0", {"model.onnx": other.onnx}, other.contract)
    workshop.graph({"a": node(one)}, "a")
    right = {"1.0.0": good.answers[:4], "1.1.0": other.answers[:4]}
    outcomes = Counter[str]()
    stop = threading.Event()
    with process_of(workshop.home, tmp_path / "log", MAESTRO_SERVING__GRAPH_POLL_S="0.005") as process:
        process.wait_ready()

        def ask() -> None:
            last = 0
            with httpx.Client(base_url=process.url, trust_env=False) as client:
                while not stop.is_set():
                    response = client.post("/predict", json={"instances": good.rows[:4].tolist()})
                    version = response.headers.get("x-maestro-version", "")
                    revision = int(response.headers.get("x-maestro-revision", 0))
                    fits = version == ("1.0.0" if revision % 2 else "1.1.0") and revision >= last
                    fine = response.status_code == 200 and fits and response.json()["predictions"] == right[version]
                    outcomes["fine" if fine else f"{response.status_code} {version} {revision} after {last}"] += 1
                    last = revision

        threads = [threading.Thread(target=ask) for _ in range(3)]
        for thread in threads:
            thread.start()
        with httpx.Client(base_url=process.url, trust_env=False) as client:
            for revision in range(2, SWAPS + 2):
                workshop.graph({"a": node(one if revision % 2 else two)}, "a", revision=revision)
                eventually(
                    lambda wanted=revision: client.get("/healthz").json()["models"]["m"] == wanted,  # type: ignore[misc]
                    timeout_s=20,
                )
        stop.set()
        for thread in threads:
            thread.join()
    assert set(outcomes) == {"fine"}
    assert outcomes["fine"] > SWAPS


async def _open(port: int, count: int, body: bytes) -> tuple[int, int]:
    """Open connections, then ask on each while all stay open: how many opened, how many were answered."""
    request = b"POST /predict HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    gate = asyncio.Semaphore(500)

    async def connect() -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        async with gate:
            return await asyncio.open_connection("127.0.0.1", port)

    pairs = await asyncio.gather(*(connect() for _ in range(count)))

    async def ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        writer.write(request)
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 60)
        return b" 200 " in head.split(b"\r\n")[0]

    answered = sum(await asyncio.gather(*(ask(*pair) for pair in pairs)))
    for _, writer in pairs:
        writer.close()
    return len(pairs), answered


@pytest.mark.shows("G18", "G20", env="laptop")
def test_ten_thousand_open_connections_are_all_answered(
    workshop: Workshop, models: tuple[Trained, Trained], tmp_path: Path
) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < CONNECTIONS + 500:
        pytest.skip(f"this machine lets a process open {hard} files")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, CONNECTIONS + 500), hard))
    try:
        good, _ = models
        version = workshop.register("1.0.0", {"model.onnx": good.onnx}, good.contract)
        workshop.graph({"a": node(version)}, "a")
        body = json.dumps({"instances": good.rows[:1].tolist()}).encode()
        with process_of(workshop.home, tmp_path / "log") as process:
            process.wait_ready()
            port = int(process.url.rpartition(":")[2])
            assert asyncio.run(_open(port, CONNECTIONS, body)) == (CONNECTIONS, CONNECTIONS)
            text = httpx.get(f"{process.url}/metrics", trust_env=False).text
            assert f'maestro_responses_total{{status="200"}} {CONNECTIONS}.0' in text
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def _load(port: int, body: bytes, connections: int, each: int) -> tuple[list[float], int]:
    """Ask on several connections, one request after the other on each: the latencies in seconds, and how many were not answered well."""
    request = b"POST /predict HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    taken: list[float] = []
    wrong = 0

    async def caller() -> None:
        nonlocal wrong
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for _ in range(each):
            began = time.perf_counter()
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            size = int(next(line for line in head.split(b"\r\n") if line.startswith(b"content-length")).split(b": ")[1])
            await reader.readexactly(size)
            taken.append(time.perf_counter() - began)
            wrong += b" 200 " not in head.split(b"\r\n")[0]
        writer.close()

    await asyncio.gather(*(caller() for _ in range(connections)))
    return taken, wrong


@pytest.mark.shows("G1", "G2", "G3", "G20", env="laptop")
def test_single_rows_are_answered_by_the_thousand_a_second(
    workshop: Workshop, models: tuple[Trained, Trained], tmp_path: Path
) -> None:
    good, _ = models
    version = workshop.register("1.0.0", {"model.onnx": good.onnx}, good.contract)
    workshop.graph({"a": node(version)}, "a")
    with process_of(workshop.home, tmp_path / "log") as process:
        process.wait_ready()
        port = int(process.url.rpartition(":")[2])
        one = json.dumps({"instances": good.rows[:1].tolist()}).encode()
        asyncio.run(_load(port, one, 16, 20))
        began = time.perf_counter()
        taken, wrong = asyncio.run(_load(port, one, 16, 500))
        rate = len(taken) / (time.perf_counter() - began)
        taken.sort()
        assert wrong == 0
        assert rate > 1000
        assert taken[int(0.95 * len(taken))] < 0.1
        assert taken[int(0.99 * len(taken))] < 0.2


@pytest.mark.shows("G4", env="laptop")
def test_ten_thousand_predictions_a_second_within_ten_milliseconds(
    workshop: Workshop, models: tuple[Trained, Trained], tmp_path: Path
) -> None:
    good, _ = models
    version = workshop.register("1.0.0", {"model.onnx": good.onnx}, good.contract)
    workshop.graph({"a": node(version)}, "a")
    with process_of(workshop.home, tmp_path / "log") as process:
        process.wait_ready()
        port = int(process.url.rpartition(":")[2])
        rows = json.dumps({"instances": good.rows[:100].tolist()}).encode()
        asyncio.run(_load(port, rows, 1, 20))
        began = time.perf_counter()
        taken, wrong = asyncio.run(_load(port, rows, 1, 500))
        seconds = time.perf_counter() - began
        taken.sort()
        assert wrong == 0
        assert 100 * len(taken) / seconds > 10_000
        assert taken[int(0.99 * len(taken))] < 0.01
