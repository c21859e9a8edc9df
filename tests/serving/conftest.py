"""Real tiny models in real version folders, signed by real keys; a real server in this process or in one of its own."""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal

import httpx
import numpy as np
import pytest
import uvloop
import yaml
from numpy.typing import NDArray

from maestro.clients.home import Home
from maestro.core.canonical import canonical_bytes, digest
from maestro.core.clock import SystemClock
from maestro.core.contract import Feature, ModelContract, Output
from maestro.core.graph import InferenceGraph
from maestro.core.manifest import VersionManifest
from maestro.core.principals import Principal, PrincipalRole
from maestro.core.settings import ServingSettings, Settings
from maestro.core.statement import AdmissionPredicate
from maestro.security.artifact import measure
from maestro.security.credential import KeyVerifier
from maestro.security.keyring import ensure_keys, key_path
from maestro.security.signing import PrivateKey
from maestro.security.statements import promotion, provenance, rollout_authorisation, write_envelope
from maestro.serving.engine.door import Patience
from maestro.serving.engine.single import OneProcess, bound
from maestro.serving.engine.tls import tls_context
from maestro.serving.feature_sources import FeatureSource
from maestro.serving.runtimes import RuntimeFactory
from maestro.serving.server import ModelServer

Statement = Literal["promotion", "authorisation", "none"]
ENTITY = "patient_id"
FEATURES = 4


@dataclass(frozen=True)
class Trained:
    """A fitted classifier with data to ask it about."""

    model: Any
    rows: NDArray[np.float64]
    answers: list[int]
    contract: ModelContract
    onnx: bytes


@pytest.fixture(scope="session")
def trained() -> Trained:
    """A logistic regression on four columns of the breast-cancer set."""
    return _fit(flip=False)


@pytest.fixture(scope="session")
def worse() -> Trained:
    """The same trained on flipped labels: nearly always wrong."""
    return _fit(flip=True)


def contract_of(rows: NDArray[np.float64], **fields: Any) -> ModelContract:
    """A contract with the ranges of the rows."""
    features = tuple(
        Feature(name=f"x{column}", min=float(rows[:, column].min()), max=float(rows[:, column].max()))
        for column in range(rows.shape[1])
    )
    return ModelContract.build(
        features, Output(kind="classification", classes=("0", "1")), entity_keys=(ENTITY,), **fields
    )


def _fit(*, flip: bool) -> Trained:
    from skl2onnx import to_onnx
    from sklearn.datasets import load_breast_cancer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    rows, target = load_breast_cancer(return_X_y=True)
    rows = np.ascontiguousarray(rows[:, :FEATURES])
    target = 1 - target if flip else target
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(rows, target)
    onnx = to_onnx(model, rows[:1], options={id(model): {"zipmap": False}}).SerializeToString()
    return Trained(model, rows, model.predict(rows).tolist(), contract_of(rows), onnx)


@dataclass
class Workshop:
    """A home in which versions are registered, signed and put into graphs as the control plane does."""

    home: Home
    keys: dict[str, PrivateKey] = field(default_factory=dict)

    def __post_init__(self) -> None:
        clock = SystemClock()
        ensure_keys(self.home.keys, self.home.trust_policy, clock.now() - timedelta(days=1))
        for role in ("builder", "decider"):
            self.keys[role] = PrivateKey.load(key_path(self.home.keys, role))

    def register(
        self,
        version: str,
        files: Mapping[str, bytes] | Path,
        contract: ModelContract,
        *,
        model: str = "m",
        statement: Statement = "promotion",
        signed: bool = True,
        trained_on: Sequence[str] = (),
        environment: str = "production",
        expires_in: timedelta | None = None,
    ) -> VersionManifest:
        """Write a version folder."""
        folder = self.home.version(model, version)
        target = folder / "files"
        if isinstance(files, Path):
            shutil.copytree(files, target)
        else:
            for name, data in files.items():
                (target / name).parent.mkdir(parents=True, exist_ok=True)
                (target / name).write_bytes(data)
        (target / "contract.json").write_bytes(canonical_bytes(contract.document()))
        if trained_on:
            numbers = [int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") for text in trained_on]
            np.save(target / "trained_entities.npy", np.sort(np.array(numbers, dtype=np.uint64)))
        manifest = measure(folder, model=model, version=version, run_id="r1")
        (folder / "manifest.json").write_bytes(canonical_bytes(manifest.document()))
        if signed:
            said = provenance(manifest, run_id="r1", job_id="j1", builder="service:worker", code="0.1.0", materials={})
            write_envelope(folder, "provenance.json", self.keys["builder"].sign(said))
        self.state(manifest, statement, environment=environment, expires_in=expires_in)
        return manifest

    def state(
        self,
        manifest: VersionManifest,
        statement: Statement,
        *,
        environment: str = "production",
        expires_in: timedelta | None = None,
    ) -> None:
        """Put a statement of the decider into a version's folder."""
        if statement == "none":
            return
        now = SystemClock().now()
        predicate = AdmissionPredicate(
            decision=digest("decision"),
            environment=environment,
            policy=digest("policy"),
            issued=now,
            expires=None if expires_in is None else now + expires_in,
        )
        make = promotion if statement == "promotion" else rollout_authorisation
        folder = self.home.version(manifest.model, manifest.version)
        write_envelope(folder, f"{statement}.json", self.keys["decider"].sign(make(manifest, predicate)))

    def graph(self, nodes: Mapping[str, Any], root: str, revision: int = 1, model: str = "m") -> InferenceGraph:
        """Write a graph file."""
        document = {
            "apiVersion": "maestro/v1",
            "kind": "InferenceGraph",
            "metadata": {"name": model, "revision": revision},
            "root": root,
            "nodes": dict(nodes),
        }
        graph = InferenceGraph.model_validate(document)
        self.write_graph(yaml.safe_dump(document), model)
        return graph

    def write_graph(self, text: str, model: str = "m") -> None:
        """Replace a graph file by any text."""
        path = self.home.graph(model)
        path.parent.mkdir(exist_ok=True)
        temporary = path.with_suffix(".new")
        temporary.write_text(text)
        temporary.replace(path)

    def key(self, *roles: PrincipalRole, name: str = "service") -> str:
        """A key that the server accepts."""
        from maestro.security.credential import Credential
        from maestro.security.verifiers import write_verifiers

        credential = Credential.mint()
        self._verifiers = [
            *getattr(self, "_verifiers", []),
            KeyVerifier(
                key_id=credential.key_id,
                secret_hash=credential.secret_hash,
                principal=Principal(name=name, kind="service", roles=roles),
            ),
        ]
        write_verifiers(self.home.server_keys, self._verifiers)
        return credential.token


def node(manifest: VersionManifest, **fields: Any) -> dict[str, Any]:
    """A model node that pins a version."""
    return {
        "type": "model",
        "model": manifest.model,
        "version": manifest.version,
        "digest": manifest.content_digest(),
        "timeout_ms": 2000,
    } | fields


def split(a: str, b: str, weight: int, **fields: Any) -> dict[str, Any]:
    """A split that gives `b` a weight in 1/10,000; `a` is the fallback."""
    return {
        "type": "split",
        "key": ENTITY,
        "salt": "s",
        "arms": [{"node": a, "weight": 10_000 - weight}, {"node": b, "weight": weight}],
        "fallback": a,
    } | fields


@pytest.fixture
def workshop(home: Path) -> Workshop:
    """A home with keys and a trust policy."""
    return Workshop(Home(home))


class Client(httpx.Client):
    """A caller of a model server that runs in this process, on a port of its own: its door is real, its start costs nothing."""

    def __init__(self, url: str, server: ModelServer, process: OneProcess, stop: Callable[[], None]) -> None:
        super().__init__(base_url=url, trust_env=False, timeout=60)
        self.url = url
        self.server = server
        self.process = process
        self.stop = stop


Serve = Callable[..., Client]


@contextmanager
def serving(
    workshop: Workshop,
    *,
    features: FeatureSource | None = None,
    runtimes: RuntimeFactory | None = None,
    patience: Patience | None = None,
    **settings: Any,
) -> Iterator[Client]:
    """A client of a server that runs in a thread until the block is left or it is stopped."""
    options = Settings(
        home=workshop.home.root, serving=ServingSettings(**({"auth": "network", "graph_poll_s": 0.05} | settings))
    )
    server = ModelServer(workshop.home, options, features=features, runtimes=runtimes)
    tls = tls_context(options.serving.tls_cert, options.serving.tls_key)
    process = OneProcess(server, patience=patience, tls=tls)
    sock = bound("127.0.0.1", 0)
    started, told = threading.Event(), threading.Event()

    async def run() -> None:
        await process.start(sock)
        started.set()
        await asyncio.to_thread(told.wait)
        await process.stop(5)

    def work() -> None:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(run())

    thread = threading.Thread(target=work, daemon=True)
    thread.start()

    def stop() -> None:
        told.set()
        thread.join(timeout=20)

    assert started.wait(30), "the server did not start"
    with Client(f"http://127.0.0.1:{sock.getsockname()[1]}", server, process, stop) as client:
        try:
            yield client
        finally:
            client.close()
            stop()


@pytest.fixture
def serve(workshop: Workshop) -> Iterator[Serve]:
    """Starts servers of this test's home."""
    with ExitStack() as stack:
        yield lambda **options: stack.enter_context(serving(workshop, **options))


@dataclass
class Process:
    """A model server in a process of its own."""

    process: subprocess.Popen[bytes]
    url: str
    home: Home
    log: Path

    def wait_ready(self, timeout_s: float = 60.0) -> Process:
        """Return when it serves."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            assert self.process.poll() is None, self.log.read_text()
            try:
                if httpx.get(f"{self.url}/v2/health/ready", timeout=1, trust_env=False).status_code == 200:
                    return self
            except httpx.TransportError:
                pass
            time.sleep(0.05)
        raise AssertionError(f"not ready: {self.log.read_text()}")

    def kill(self) -> None:
        """kill -9."""
        self.process.kill()
        self.process.wait(timeout=10)


@contextmanager
def process_of(home: Home, log: Path, **settings: str) -> Iterator[Process]:
    """A model server as a person starts it; ended when the block is left."""
    port = free_port()
    environment = {
        **os.environ,
        "MAESTRO_SERVING__AUTH": "network",
        "MAESTRO_SERVING__GRAPH_POLL_S": "0.05",
        **settings,
    }
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "maestro.serving.main", "--port", str(port), "--home", str(home.root)],
            stdout=output,
            stderr=output,
            env=environment,
        )
    try:
        yield Process(process, f"http://127.0.0.1:{port}", home, log)
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@pytest.fixture
def spawn(workshop: Workshop, tmp_path: Path) -> Iterator[Callable[..., Process]]:
    """Starts model servers of this test's home, or of another."""
    with ExitStack() as stack:

        def start(home: Home = workshop.home, **settings: str) -> Process:
            log = tmp_path / f"server-{len(list(tmp_path.glob('server-*.log')))}.log"
            return stack.enter_context(process_of(home, log, **settings))

        yield start


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def eventually(check: Callable[[], bool], timeout_s: float = 5.0) -> None:
    """Wait until `check` holds."""
    deadline = time.monotonic() + timeout_s
    while not check():
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.02)
