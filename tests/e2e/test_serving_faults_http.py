"""The model server under what users and machines do to it: a thousand swaps, killed workers, abusive callers, corrupt artifacts."""

from __future__ import annotations

import asyncio
import os
import random
import resource
import signal
import socket
import time
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from maestro.core.principals import PrincipalRole
from tests.e2e.callers import Callers, memory_mib, post_of, processes, read_answer, share, state_figures
from tests.serving.conftest import Process, Trained, Workshop, eventually, node

pytestmark = [pytest.mark.e2e, pytest.mark.door, pytest.mark.timeout(600)]

SWAPS = 1000
POLL_S = 0.002
PAUSE_S = 0.002
CACHED_SWAPS = 300
CONNECTIONS = 10_000
KILLS = 8
Say = Callable[[str, object], None]


def counted(process: Process, name: str, **labels: str) -> int:
    """A counter of the exposition, summed over the series with these labels."""
    text = httpx.get(f"{process.url}/metrics", trust_env=False).text
    wanted = [f'{label}="{value}"' for label, value in labels.items()]
    lines = [line for line in text.splitlines() if line.startswith((name + "{", name + " "))]
    return int(sum(float(line.rpartition(" ")[2]) for line in lines if all(each in line for each in wanted)))


def workers(process: Process) -> list[int]:
    """The processes that answer."""
    found = []
    for pid in processes(process.process.pid)[1:]:
        try:
            if b"maestro.serving.engine.worker" in Path(f"/proc/{pid}/cmdline").read_bytes():
                found.append(pid)
        except OSError:
            continue
    return found


def swapped(process: Process, workshop: Workshop, one: Any, two: Any, swaps: int) -> list[float]:
    """Move the graph to and fro; how long each move took until the server said that all its processes answer on it, in seconds."""
    taken = []
    with httpx.Client(base_url=process.url, trust_env=False) as client:
        for revision in range(2, swaps + 2):
            began = time.monotonic()
            workshop.graph({"a": one if revision % 2 else two}, "a", revision=revision)
            while client.get("/healthz").json()["models"]["m"] != revision:
                assert time.monotonic() < began + 30, revision
                time.sleep(POLL_S)
            taken.append(time.monotonic() - began)
    return taken


@pytest.mark.shows("G5", "G8", "L15", env="laptop")
@pytest.mark.parametrize(
    ("count", "pause_s"), [("1", PAUSE_S), ("2", PAUSE_S), ("2", 0.0)],
    ids=["one process", "two workers", "two workers, no core idle"],
)  # fmt: skip
def test_a_thousand_swaps_under_load_fail_no_request(
    workshop: Workshop,
    models: tuple[Trained, Trained],
    start: Callable[..., Process],
    record_property: Say,
    count: str,
    pause_s: float,
) -> None:
    good, other = models
    one = workshop.register("1.0.0", {"model.onnx": good.onnx}, good.contract)
    two = workshop.register("1.1.0", {"model.onnx": other.onnx}, other.contract)
    workshop.graph({"a": node(one)}, "a")
    right = {"1.0.0": good.answers[:4], "1.1.0": other.answers[:4]}
    process = start(MAESTRO_SERVING__WORKERS=count)

    def check(response: httpx.Response) -> str | None:
        version, revision = response.headers["x-maestro-version"], int(response.headers["x-maestro-revision"])
        fits = version == ("1.0.0" if revision % 2 else "1.1.0")
        return None if fits and response.json()["predictions"] == right[version] else f"mixed: {version} at {revision}"

    body = {"instances": good.rows[:4].tolist()}
    callers = Callers(process.url, lambda client, number, turn: client.post("/predict", json=body), check, pause_s)
    with callers.calling(3):
        taken = swapped(process, workshop, node(one), node(two), SWAPS)
    overlaps = callers.overlaps()
    state_figures(
        record_property,
        swaps=SWAPS,
        workers=int(count),
        requests=len(callers.answers),
        failed=sum(callers.problems.values()),
        update_p50_ms=round(1000 * share(taken, 0.5), 1),
        update_p99_ms=round(1000 * share(taken, 0.99), 1),
        switch_p99_ms=round(1000 * share(overlaps, 0.99), 2),
        switch_longest_ms=round(1000 * max(overlaps), 2),
    )
    assert callers.problems == Counter()
    assert len(callers.answers) > SWAPS
    assert share(overlaps, 0.99) <= 0.1
    assert share(taken, 0.99 if pause_s else 0.5) <= 0.1, "by nobody's choice when no core is idle"
    assert counted(process, "maestro_model_swaps_total", result="ok") == SWAPS + 1
    assert counted(process, "maestro_responses_total", status="200") == len(callers.answers)


def scripted(folder: Path, answer: int) -> Path:
    """A model logged as code, slow enough for its answers to be remembered: it answers `answer` for every row."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import mlflow

        script = folder.with_suffix(".py")
        script.write_text(
            "import mlflow\n"
            "class Constant(mlflow.pyfunc.PythonModel):\n"
            "    def predict(self, context, model_input, params=None):\n"
            f"        return [{answer}] * len(model_input)\n"
            "mlflow.models.set_model(Constant())\n"
        )
        mlflow.pyfunc.save_model(str(folder), python_model=str(script), pip_requirements=["mlflow"])
    return folder


@pytest.mark.shows("G5", "G6", env="laptop")
def test_no_answer_comes_from_a_cache_of_another_version(
    workshop: Workshop,
    models: tuple[Trained, Trained],
    start: Callable[..., Process],
    record_property: Say,
    tmp_path: Path,
) -> None:
    contract = models[0].contract
    one = workshop.register("1.0.0", scripted(tmp_path / "one", 0), contract)
    two = workshop.register("1.1.0", scripted(tmp_path / "two", 1), contract)
    first, second = node(one, timeout_ms=20_000), node(two, timeout_ms=20_000)
    workshop.graph({"a": first}, "a")
    process = start(
        MAESTRO_SERVING__WORKERS="2",
        MAESTRO_SERVING__PREDICTION_CACHE_BYTES=str(2**24),
    )

    def check(response: httpx.Response) -> str | None:
        answer = {"1.0.0": 0, "1.1.0": 1}[response.headers["x-maestro-version"]]
        fine = response.json()["predictions"] == [answer] * 4
        return None if fine else f"{response.json()} of {response.headers['x-maestro-version']}"

    rows = models[0].rows

    def ask(client: httpx.Client, number: int, turn: int) -> httpx.Response:
        # A few rows again and again: nearly every answer is remembered, and each row by both versions.
        first = (turn + number) % 5
        return client.post("/predict", json={"instances": rows[first : first + 4].tolist()})

    callers = Callers(process.url, ask, check)
    with callers.calling(3):
        swapped(process, workshop, first, second, CACHED_SWAPS)
    hits = counted(process, "maestro_cache_hits_total", cache="prediction")
    misses = counted(process, "maestro_cache_misses_total", cache="prediction")
    state_figures(record_property, swaps=CACHED_SWAPS, requests=len(callers.answers), hits=hits, misses=misses)
    assert callers.problems == Counter()
    assert {seen.version for seen in callers.answers} == {"1.0.0", "1.1.0"}
    assert hits > misses, "the cache was in use"
    assert hits + misses == 4 * len(callers.answers)


async def _open(port: int, count: int, request: bytes) -> tuple[int, int]:
    """Open connections, then ask on each while all stay open: how many opened, how many were answered."""
    gate = asyncio.Semaphore(500)

    async def connect() -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        async with gate:
            return await asyncio.open_connection("127.0.0.1", port)

    pairs = await asyncio.gather(*(connect() for _ in range(count)))

    async def ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        writer.write(request)
        status, _, _ = await asyncio.wait_for(read_answer(reader), 60)
        return status == 200

    answered = sum(await asyncio.gather(*(ask(*pair) for pair in pairs)))
    for _, writer in pairs:
        writer.close()
    return len(pairs), answered


@pytest.mark.shows("G20", "L15", env="laptop")
def test_ten_thousand_open_connections_are_all_answered(
    workshop: Workshop, models: tuple[Trained, Trained], start: Callable[..., Process], record_property: Say
) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < CONNECTIONS + 500:
        pytest.skip(f"this machine lets a process open {hard} files")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, CONNECTIONS + 500), hard))
    try:
        good, _ = models
        version = workshop.register("1.0.0", {"model.onnx": good.onnx}, good.contract)
        workshop.graph({"a": node(version)}, "a")
        process = start()
        port = int(process.url.rpartition(":")[2])
        before = memory_mib(process.process.pid)
        opened = asyncio.run(_open(port, CONNECTIONS, post_of({"instances": good.rows[:1].tolist()})))
        state_figures(
            record_property,
            opened=opened[0],
            answered=opened[1],
            memory_before_mib=round(before),
            memory_after_mib=round(memory_mib(process.process.pid)),
        )
        assert opened == (CONNECTIONS, CONNECTIONS)
        assert counted(process, "maestro_responses_total", status="200") == CONNECTIONS
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.shows("G11", "G20", "L15", env="laptop")
def test_workers_are_killed_again_and_again_and_hardly_a_request_is_lost(
    workshop: Workshop, models: tuple[Trained, Trained], start: Callable[..., Process], record_property: Say
) -> None:
    good, _ = models
    version = workshop.register("1.0.0", {"model.onnx": good.onnx}, good.contract)
    workshop.graph({"a": node(version)}, "a")
    process = start(MAESTRO_SERVING__WORKERS="2")
    eventually(lambda: len(workers(process)) == 2, timeout_s=20)

    def check(response: httpx.Response) -> str | None:
        return None if response.json()["predictions"] == good.answers[:2] else f"wrong: {response.text}"

    body = {"instances": good.rows[:2].tolist()}
    callers = Callers(process.url, lambda client, number, turn: client.post("/predict", json=body), check)
    rng = random.Random(1)
    with callers.calling(4):
        for _ in range(KILLS):
            before = len(callers.answers)
            victim = rng.choice(workers(process))
            os.kill(victim, signal.SIGKILL)
            eventually(lambda gone=victim: gone not in workers(process) and len(workers(process)) == 2, timeout_s=60)  # type: ignore[misc]
            eventually(lambda least=before: len(callers.answers) > least + 500, timeout_s=60)  # type: ignore[misc]
    lost = sum(callers.problems.values())
    total = lost + len(callers.answers)
    state_figures(record_property, kills=KILLS, requests=total, lost=lost, error_share=round(lost / total, 6))
    assert all(problem.startswith("no answer") for problem in callers.problems), callers.problems
    assert lost <= 4 * KILLS, "only what a killed worker had in hand"
    assert lost / total < 0.01
    assert len(callers.answers) <= counted(process, "maestro_responses_total", status="200") <= total


def abuse(port: int, stop: float, kinds: Counter[str]) -> None:
    """Heads that never end, bodies that never come, rubbish, bodies without measure."""
    rng = random.Random(2)
    slow: list[socket.socket] = []
    while time.monotonic() < stop:
        sock = socket.create_connection(("127.0.0.1", port), timeout=5)
        kind = rng.choice(["head", "body", "rubbish", "large", "smuggled"])
        kinds[kind] += 1
        sock.sendall(
            {
                "head": b"POST /predict HTTP/1.1\r\nX-A: ",
                "body": b"POST /predict HTTP/1.1\r\nHost: h\r\nContent-Length: 100\r\n\r\n{",
                "rubbish": rng.randbytes(200),
                "large": b"POST /predict HTTP/1.1\r\nHost: h\r\nContent-Length: 99999999999\r\n\r\n",
                "smuggled": b"POST /predict HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            }[kind]
        )
        if kind in ("head", "body") and len(slow) < 200:
            slow.append(sock)
        else:
            sock.close()
    for sock in slow:
        sock.close()


@pytest.mark.shows("G2", "G20", "L15", env="laptop")
def test_abusive_callers_hurt_nobody_else(
    workshop: Workshop, models: tuple[Trained, Trained], start: Callable[..., Process], record_property: Say
) -> None:
    good, _ = models
    version = workshop.register("1.0.0", {"model.onnx": good.onnx}, good.contract)
    workshop.graph({"a": node(version)}, "a")
    process = start()
    port = int(process.url.rpartition(":")[2])

    def check(response: httpx.Response) -> str | None:
        return None if response.json()["predictions"] == good.answers[:1] else f"wrong: {response.text}"

    body = {"instances": good.rows[:1].tolist()}
    callers = Callers(process.url, lambda client, number, turn: client.post("/predict", json=body), check)
    kinds = Counter[str]()
    with callers.calling(2):
        abuse(port, time.monotonic() + 10, kinds)
    taken = [seen.answered - seen.asked for seen in callers.answers]
    p95, p99 = share(taken, 0.95), share(taken, 0.99)
    state_figures(
        record_property,
        abuses=sum(kinds.values()),
        requests=len(taken),
        failed=sum(callers.problems.values()),
        p95_ms=round(1000 * p95, 2),
        p99_ms=round(1000 * p99, 2),
    )
    assert callers.problems == Counter()
    assert len(kinds) == 5
    assert p95 < 0.1
    assert p99 < 0.2
    assert process.process.poll() is None


@pytest.mark.shows("K7", "G5", env="laptop")
@pytest.mark.parametrize("what", ["a byte flipped", "a file added", "a file removed", "the manifest rewritten"])
def test_an_artifact_that_is_not_the_registered_one_gets_no_traffic(
    workshop: Workshop, models: tuple[Trained, Trained], start: Callable[..., Process], what: str
) -> None:
    good, other = models
    one = workshop.register("1.0.0", {"model.onnx": good.onnx}, good.contract)
    two = workshop.register("1.1.0", {"model.onnx": other.onnx, "notes.txt": b"kept"}, other.contract)
    workshop.graph({"a": node(one)}, "a")
    folder = workshop.home.version("m", "1.1.0")
    model, manifest = folder / "files" / "model.onnx", folder / "manifest.json"
    whole = {path: path.read_bytes() for path in (model, manifest, folder / "files" / "notes.txt")}
    if what == "a byte flipped":
        data = bytearray(whole[model])
        data[len(data) // 2] ^= 1
        model.write_bytes(data)
    elif what == "a file added":
        (folder / "files" / "extra.py").write_text("raise SystemExit\n")
    elif what == "a file removed":
        (folder / "files" / "notes.txt").unlink()
    else:
        # The digests of a changed model put into the manifest: the graph's pin and the signature still say no.
        import hashlib

        data = bytearray(whole[model])
        data[len(data) // 2] ^= 1
        model.write_bytes(data)
        old, new = (hashlib.sha256(each).hexdigest() for each in (whole[model], bytes(data)))
        assert old in manifest.read_text()
        manifest.write_text(manifest.read_text().replace(old, new))
    header = {"Authorization": f"Bearer {workshop.key(PrincipalRole.VIEWER)}"}
    process = start()
    workshop.graph({"a": node(two)}, "a", revision=2)
    with httpx.Client(base_url=process.url, headers=header, trust_env=False) as client:
        eventually(lambda: client.get("/admin/graphs/m").json()["refusal"] is not None, timeout_s=20)
        told = client.get("/admin/graphs/m").json()
        assert told["revision"] == 1
        assert told["refusal"]["revision"] == 2
        assert told["refusal"]["problem"]["status"] == 403
        assert counted(process, "maestro_model_swaps_total", result="refused") >= 1
        for _ in range(20):
            answer = client.post("/predict", json={"instances": good.rows[:3].tolist()})
            assert answer.headers["x-maestro-version"] == "1.0.0"
            assert answer.json()["predictions"] == good.answers[:3]
        # What was registered comes back, and is served without a restart.
        (folder / "files" / "extra.py").unlink(missing_ok=True)
        for path, original in whole.items():
            path.write_bytes(original)
        eventually(lambda: client.get("/admin/graphs/m").json()["revision"] == 2, timeout_s=20)
        answer = client.post("/predict", json={"instances": good.rows[:3].tolist()})
        assert answer.json()["predictions"] == np.asarray(other.answers[:3]).tolist()
