"""Several processes, one truth: counters, evidence, revisions and limits are the server's, whichever process a caller happens to meet."""

from __future__ import annotations

import json
import os
import re
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from maestro.core.manifest import VersionManifest
from maestro.core.principals import PrincipalRole
from maestro.serving.swap import DRAIN_S
from tests.serving.conftest import ENTITY, Process, Trained, Workshop, eventually, node, split

pytestmark = pytest.mark.door

AT = "2026-01-01T00:00:00.000Z"
WORKERS = {"MAESTRO_SERVING__WORKERS": "2", "MAESTRO_SERVING__GRAPH_POLL_S": "0.02"}


def workers(process: Process) -> list[int]:
    """The processes that answer."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
                command = (folder / "cmdline").read_bytes()
            except OSError:
                continue
            if parent == process.process.pid and b"maestro.serving.engine.worker" in command:
                found.append(int(folder.name))
    return found


def counted(process: Process, name: str) -> int:
    """A counter of the exposition, summed over its labels."""
    text = httpx.get(f"{process.url}/metrics", trust_env=False).text
    return int(sum(float(line.rpartition(" ")[2]) for line in text.splitlines() if line.startswith(name + "{")))


def evidence(process: Process, header: dict[str, str]) -> dict[str, Any]:
    document = httpx.get(f"{process.url}/admin/evidence/m", headers=header, trust_env=False).json()
    return {"epoch": document["epoch"], **document["arms"]}


@pytest.mark.shows("G11", "G8", env="laptop")
def test_a_worker_is_killed_and_nothing_that_was_answered_is_lost(
    workshop: Workshop, trained: Trained, worse: Trained, spawn: Callable[..., Process]
) -> None:
    a = workshop.register("1.0.0", {"model.onnx": trained.onnx}, trained.contract)
    b = workshop.register("1.1.0", {"model.onnx": worse.onnx}, worse.contract, statement="authorisation")
    workshop.graph({"a": node(a), "b": node(b), "ab": split("a", "b", 5000, experiment="canary")}, "ab")
    header = {"Authorization": f"Bearer {workshop.key(PrincipalRole.SUBMITTER)}"}
    process = spawn(**WORKERS).wait_ready()
    eventually(lambda: len(workers(process)) == 2)
    epoch = evidence(process, header)["epoch"]
    sent, answered = Counter[str](), []
    stop = threading.Event()
    units = iter(range(100_000))

    def ask() -> None:
        while not stop.is_set():
            unit = next(units)
            row = unit % len(trained.rows)
            # A connection a request, so that both workers are met.
            try:
                with httpx.Client(base_url=process.url, trust_env=False, timeout=30) as client:
                    sent["sent"] += 1
                    body = {"instances": [trained.rows[row].tolist()], "entities": [{ENTITY: unit}]}
                    response = client.post("/predict", json=body)
            except httpx.TransportError:
                sent["lost"] += 1
                continue
            right = {"1.0.0": trained.answers[row], "1.1.0": worse.answers[row]}
            assert response.json()["predictions"] == [right[response.headers["x-maestro-version"]]]
            answered.append((unit, trained.answers[row]))

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    eventually(lambda: len(answered) > 60, timeout_s=20)
    victim = workers(process)[0]
    os.kill(victim, signal.SIGKILL)
    eventually(lambda: len(workers(process)) == 2 and victim not in workers(process), timeout_s=20)
    before = len(answered)
    eventually(lambda: len(answered) > before + 60, timeout_s=30)
    stop.set()
    for thread in threads:
        thread.join()
    total = counted(process, "maestro_responses_total")
    assert len(answered) <= total <= sent["sent"]
    assert sent["lost"] <= 3, "only what the killed worker had in hand is lost"
    # Every answer that a caller has is evidence, the killed worker's too: its label meets it.
    labels = [{"model": "m", "entity": {ENTITY: unit}, "label": label, "at": AT} for unit, label in answered]
    receipt = httpx.post(f"{process.url}/labels", headers=header, json=labels, trust_env=False).json()
    assert receipt == {"accepted": len(answered), "joined": len(answered), "duplicates": 0}
    after = evidence(process, header)
    assert after["epoch"] == epoch
    assert len(answered) <= after["a"]["exposed"] + after["b"]["exposed"] <= sent["sent"]
    assert after["a"]["labelled"] + after["b"]["labelled"] >= len(answered)
    assert after["a"]["wrong"] == 0
    assert after["b"]["wrong"] == after["b"]["labelled"] > 0
    assert after["a"]["requests"]["ok"] + after["b"]["requests"]["ok"] == total


@pytest.mark.shows("G5", "F7", env="laptop")
def test_swaps_reach_all_and_no_connection_goes_back(
    workshop: Workshop, trained: Trained, worse: Trained, spawn: Callable[..., Process]
) -> None:
    one = workshop.register("1.0.0", {"model.onnx": trained.onnx}, trained.contract)
    two = workshop.register("1.1.0", {"model.onnx": worse.onnx}, worse.contract)
    workshop.graph({"a": node(one)}, "a")
    process = spawn(**WORKERS).wait_ready()
    right = {"1.0.0": trained.answers[:4], "1.1.0": worse.answers[:4]}
    problems: list[str] = []
    counts = Counter[str]()
    stop = threading.Event()

    def ask() -> None:
        last = 0
        with httpx.Client(base_url=process.url, trust_env=False) as client:
            while not stop.is_set():
                response = client.post("/predict", json={"instances": trained.rows[:4].tolist()})
                version, revision = response.headers["x-maestro-version"], int(response.headers["x-maestro-revision"])
                fits = version == ("1.0.0" if revision % 2 else "1.1.0") and revision >= last
                if not fits or response.status_code != 200 or response.json()["predictions"] != right[version]:
                    problems.append(f"{response.status_code} {version} {revision} after {last}")
                last = revision
                counts["fine"] += 1

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    key = {"Authorization": f"Bearer {workshop.key(PrincipalRole.VIEWER)}"}
    with httpx.Client(base_url=process.url, trust_env=False) as client:
        for revision in range(2, 32):
            workshop.graph({"a": node(one if revision % 2 else two)}, "a", revision=revision)
            eventually(
                lambda wanted=revision: client.get("/admin/graphs/m", headers=key).json()["revision"] == wanted,  # type: ignore[misc]
                timeout_s=20,
            )
            # Once the parent says so, every worker answers on it: a fresh connection meets any of them.
            for _ in range(2):
                fresh = httpx.post(
                    f"{process.url}/predict", json={"instances": trained.rows[:1].tolist()}, trust_env=False
                )
                assert int(fresh.headers["x-maestro-revision"]) == revision
    stop.set()
    for thread in threads:
        thread.join()
    assert problems == []
    assert counts["fine"] > 30
    assert counted(process, "maestro_model_swaps_total") == 31


@pytest.mark.shows("D9", "F10", env="laptop")
def test_going_back_loads_nothing_in_any_worker(
    workshop: Workshop,
    trained: Trained,
    worse: Trained,
    spawn: Callable[..., Process],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    one = workshop.register("1.0.0", {"model.onnx": trained.onnx}, trained.contract)
    two = workshop.register("1.1.0", {"model.onnx": worse.onnx}, worse.contract)
    workshop.graph({"a": node(one)}, "a")
    private = tmp_path / "private"
    private.mkdir()
    monkeypatch.setenv("TMPDIR", str(private))
    process = spawn(**WORKERS).wait_ready()
    eventually(lambda: len(workers(process)) == 2)

    def moved(version: VersionManifest, revision: int) -> bool:
        workshop.graph({"a": node(version)}, "a", revision=revision)
        healthz = f"{process.url}/healthz"
        eventually(lambda: httpx.get(healthz, trust_env=False).json()["models"]["m"] == revision, timeout_s=20)
        # Whoever meets any worker now, on a connection of its own, is answered by it.
        answers = [
            httpx.post(f"{process.url}/predict", json={"instances": trained.rows[:1].tolist()}, trust_env=False)
            for _ in range(12)
        ]
        return {each.headers["x-maestro-revision"] for each in answers} == {str(revision)}

    assert moved(two, 2)
    copies = list(private.glob("maestro-serving-*/*/files/model.onnx"))
    assert len(copies) == 2, "one of each version"
    for copy in copies:
        copy.unlink()
    for revision in range(3, 9):
        assert moved(one if revision % 2 else two, revision)


IMPORTED = """
import json, sys
import maestro.serving.engine.worker, onnxruntime
heavy = {"mlflow", "pandas", "sklearn", "fastapi", "starlette", "uvicorn", "scipy", "pyarrow", "sqlalchemy", "pydantic_settings"}
print(json.dumps(sorted(heavy & set(sys.modules))))
"""


@pytest.mark.shows("G9", env="laptop")
def test_a_worker_holds_little_and_ends_with_its_parent(
    workshop: Workshop, trained: Trained, spawn: Callable[..., Process]
) -> None:
    version = workshop.register("1.0.0", {"model.onnx": trained.onnx}, trained.contract)
    workshop.graph({"a": node(version)}, "a")
    process = spawn(**WORKERS).wait_ready()
    eventually(lambda: len(workers(process)) == 2)
    for _ in range(50):
        assert httpx.post(
            f"{process.url}/predict", json={"instances": trained.rows[:3].tolist()}, trust_env=False
        ).json() == {"predictions": trained.answers[:3]}
    for pid in workers(process):
        # What a process has imported as native code is mapped into it.
        maps = Path(f"/proc/{pid}/maps").read_text()
        assert "onnxruntime" in maps
        for library in ("/pandas/", "/sklearn/", "/scipy/", "/pyarrow/", "/mlflow/", "/sqlalchemy/"):
            assert library not in maps, library
        rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
        pss = next(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:"))
        assert pss / 1024 <= 75
    import subprocess
    import sys

    done = subprocess.run([sys.executable, "-c", IMPORTED], capture_output=True, text=True, timeout=60, check=True)
    assert json.loads(done.stdout) == []

    # The end is announced, what is under way is answered, and no process is left.
    pids = workers(process)
    outcomes: list[int] = []

    def ask() -> None:
        with httpx.Client(base_url=process.url, trust_env=False) as client:
            while True:
                try:
                    outcomes.append(client.post("/predict", json={"instances": [[12, 15, 80, 500]]}).status_code)
                except httpx.TransportError:
                    return

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    eventually(lambda: len(outcomes) > 50, timeout_s=20)
    began = time.monotonic()
    process.process.terminate()
    assert process.process.wait(timeout=20) == 0
    assert time.monotonic() - began < 10
    for thread in threads:
        thread.join()
    assert set(outcomes) == {200}
    eventually(lambda: not any(Path(f"/proc/{pid}/cmdline").exists() for pid in pids))


@pytest.mark.e2e
@pytest.mark.shows("L15", env="laptop")
def test_one_caller_s_rate_is_one_for_all_workers(
    workshop: Workshop, trained: Trained, spawn: Callable[..., Process]
) -> None:
    version = workshop.register("1.0.0", {"model.onnx": trained.onnx}, trained.contract)
    workshop.graph({"a": node(version)}, "a")
    process = spawn(**WORKERS, MAESTRO_SERVING__RATE_PER_S="0.01", MAESTRO_SERVING__RATE_BURST="10").wait_ready()
    statuses = Counter[int]()
    for _ in range(30):
        response = httpx.post(f"{process.url}/predict", json={"instances": [[12, 15, 80, 500]]}, trust_env=False)
        statuses[response.status_code] += 1
        assert response.status_code == 200 or int(response.headers["retry-after"]) >= 1
    assert statuses == {200: 10, 429: 20}


@pytest.mark.e2e
def test_a_model_that_needs_a_process_of_its_own_has_one_for_all_workers(
    workshop: Workshop, trained: Trained, spawn: Callable[..., Process], tmp_path: Path
) -> None:
    import warnings

    folder = tmp_path / "model"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import mlflow

        script = tmp_path / "odd.py"
        script.write_text(
            "import mlflow, os\n"
            "class Odd(mlflow.pyfunc.PythonModel):\n"
            "    def predict(self, context, model_input, params=None):\n"
            "        return [int(x > 1000) for x in model_input['x0']]\n"
            "mlflow.models.set_model(Odd())\n"
        )
        mlflow.pyfunc.save_model(str(folder), python_model=str(script), pip_requirements=["mlflow"])
    version = workshop.register("1.0.0", folder, trained.contract)
    workshop.graph({"a": node(version, timeout_ms=20_000)}, "a")
    process = spawn(**WORKERS).wait_ready(120)
    for _ in range(6):
        response = httpx.post(
            f"{process.url}/predict",
            json={"instances": [[12, 15, 80, 500], [2000, 15, 80, 500]]},
            trust_env=False,
            timeout=30,
        )
        assert response.json() == {"predictions": [0, 1]}, response.text
    children = [
        line for line in _commands() if "pyfunc_worker" in line and str(process.process.pid) in line.split()[:1]
    ]
    assert len(children) == 1


@pytest.mark.e2e
@pytest.mark.timeout(400)
@pytest.mark.shows("G5", "G8", env="laptop")
def test_a_request_under_way_is_answered_by_its_version_however_many_swaps_pass(
    workshop: Workshop, trained: Trained, spawn: Callable[..., Process], tmp_path: Path
) -> None:
    import warnings

    nodes = []
    for number in range(3):
        folder, script = tmp_path / f"model-{number}", tmp_path / f"slow_{number}.py"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import mlflow

            script.write_text(
                "import mlflow, os, signal, time\n"
                "class Slow(mlflow.pyfunc.PythonModel):\n"
                "    def predict(self, context, model_input, params=None):\n"
                "        if (model_input['x0'] > 1000).any():\n"
                "            told = []\n"
                "            signal.signal(signal.SIGUSR1, lambda *_: told.append(True))\n"
                "            print(f'under way in process {os.getpid()}.', flush=True)\n"
                "            while not told:\n"
                "                time.sleep(0.05)\n"
                f"        return [{number}] * len(model_input)\n"
                "mlflow.models.set_model(Slow())\n"
            )
            mlflow.pyfunc.save_model(str(folder), python_model=str(script), pip_requirements=["mlflow"])
        version = workshop.register(f"1.{number}.0", folder, trained.contract)
        nodes.append(node(version, timeout_ms=200_000))
    workshop.graph({"a": nodes[0]}, "a")
    process = spawn(**WORKERS).wait_ready(120)
    answers: list[httpx.Response] = []

    def ask() -> None:
        rows = {"instances": [[2000, 15, 80, 500]]}
        answers.append(httpx.post(f"{process.url}/predict", json=rows, trust_env=False, timeout=210))

    thread = threading.Thread(target=ask)
    thread.start()
    under_way = re.compile(r"under way in process (\d+)\.")
    eventually(lambda: under_way.search(process.log.read_text()) is not None, timeout_s=30)
    found = under_way.search(process.log.read_text())
    assert found is not None
    for revision, each in enumerate(nodes[1:], 2):
        workshop.graph({"a": each}, "a", revision=revision)
        eventually(
            lambda wanted=revision: (
                httpx.get(f"{process.url}/healthz", trust_env=False).json()["models"]["m"] == wanted
            ),  # type: ignore[misc]
            timeout_s=60,
        )
    time.sleep(DRAIN_S / 2)  # what is let go of with the swap, or soon after, would be gone
    assert not answers, "it is under way"
    os.kill(int(found[1]), signal.SIGUSR1)
    thread.join()
    assert (answers[0].status_code, answers[0].text) == (200, '{"predictions":[0]}')
    assert answers[0].headers["x-maestro-version"] == "1.0.0"


def _commands() -> list[str]:
    lines = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                parent = (folder / "stat").read_text().rpartition(")")[2].split()[1]
                lines.append(parent + " " + (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode())
            except OSError:
                continue
    return lines
