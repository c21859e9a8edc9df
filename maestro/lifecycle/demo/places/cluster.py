"""The cluster that KUBECONFIG names, with the platform applied to it: training, registry, features, traffic and evidence are all there."""

from __future__ import annotations

import json
import os
import secrets
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import yaml

from maestro.clients.api import ApiClient
from maestro.clients.feast import FeatureRepository
from maestro.clients.feature_server import FeatureServer
from maestro.clients.home import Home, write_private
from maestro.clients.kubernetes.kubectl import Kubectl
from maestro.core.clock import SystemClock
from maestro.core.errors import BadInput, Conflict, NegativeVerdict, NotFound, Unreachable
from maestro.core.events import Event
from maestro.core.seams import Progress
from maestro.core.state import ServiceState, State
from maestro.lifecycle.demo.places._base import Pace, Place, Setting, Steps
from maestro.lifecycle.demo.places.laptop import answer_of
from maestro.lifecycle.demo.traffic import Caller
from maestro.training.datasets import Dataset

Answer = TypeVar("Answer")

PLATFORM, SERVING = "ml-platform", "ml-serving"
_NEEDED = (
    (PLATFORM, "statefulset/postgresql"), (PLATFORM, "deployment/mlflow"), (PLATFORM, "deployment/feast"),
    (PLATFORM, "deployment/control-plane-api"), (PLATFORM, "deployment/control-plane-worker"), (SERVING, "deployment/model-router"),
)  # fmt: skip
_SERVICES = {
    "api": (PLATFORM, "control-plane-api", 8080), "mlflow": (PLATFORM, "mlflow", 5000), "features": (PLATFORM, "feast", 6566),
    "server": (SERVING, "model-router", 80), "postgresql": (PLATFORM, "postgresql", 5432),
}  # fmt: skip
_API, _WORKER, _ROUTER = "deployment/control-plane-api", "deployment/control-plane-worker", "deployment/model-router"
_FOLDER = "/var/lib/maestro/demo"
"""In the claim that API and worker share."""

_GRAPH = "ab-test-config"
_SAMPLE = Path("ab-testing/ab-test-deployment.yaml")
_EVIDENCE = {"MAESTRO_METRIC_SOURCE": "server", "MAESTRO_SERVER_URL": f"http://model-router.{SERVING}"}
"""Labels are joined to answers by the router alone; Prometheus counts no entities."""

_OWN: dict[str, Steps] = {
    "train": (("operator_job", "A job of the training operator"),),
    "bad_release": (("faults", "Pods killed in mid-rollout"), ("split", "The split edited by hand")),
    "operations": (("recovery", "Backup and restore"),),
}
_MODEL = "visits"
_CALLED = "visits_v1"
_REGISTRY_S = 120.0
_ROWS = 2000
"""Of one request that brings features online."""

_EVENTS = """
import json
from maestro.clients.database.outbox import events
from maestro.lifecycle.composition import Platform
platform = Platform()
with platform.database.read() as connection:
    print(json.dumps([event.document() for event in events(connection) if event.kind.startswith("rollout.")]))
"""


class InCluster:
    """Implements `maestro.lifecycle.demo.places.Place`.

    The model's name is new for each run, so that a story begins where nothing is served. While it runs the control plane takes its evidence from the
    router, which tells entities apart, and the router serves the story's model alone; afterwards both are as they were.

    Args:
        home: filled here, for this run.
        replace: whether the router may be taken from another model, until the end.

    Raises:
        BadInput: nothing names a cluster.
    """

    def __init__(self, home: Home, *, replace: bool = False) -> None:
        self.kubectl = Kubectl()
        traffic = {"requests_per_s": 220.0, "labelled_per_s": 200.0}
        model = f"{_MODEL}-{secrets.token_hex(3)}"
        self.setting = Setting(
            "a Kubernetes cluster", home, model, Pace(250.0, traffic, patience=4.0), draws=False, own_steps=_OWN
        )
        self._home = home
        self._replace = replace
        self._repository: FeatureRepository | None = None

    @contextmanager
    def running(self, progress: Progress) -> Iterator[Sequence[str]]:
        """Wait for what is there, lead its services here, and let the story's people in."""
        for at, (namespace, name) in enumerate(_NEEDED):
            progress.update(at / 10, f"waiting for {name}")
            self._ready(namespace, name)
        with ExitStack() as stack:
            stack.enter_context(self._router())
            progress.update(0.7, "taking evidence from the router")
            stack.enter_context(self._evidence())
            services = {}
            for name, (namespace, service, port) in _SERVICES.items():
                host, here = stack.enter_context(self.kubectl.reached(namespace, service, port))
                services[name] = ServiceState(url=f"http://{host}:{here}", pid=os.getpid(), log="logs")
            progress.update(0.9, "letting people in")
            write_private(
                self._home.trust_policy, self._config_map(PLATFORM, "maestro-trust-policy", "trust-policy.json")
            )
            self._people(str(services["api"].url))
            state = State(
                started=SystemClock().now(), supervisor_pid=os.getpid(), database="postgresql", services=services
            )
            self._home.write_state(state)
            try:
                yield [name.partition("/")[2] for _, name in _NEEDED]
            finally:
                self._home.state_file.unlink(missing_ok=True)

    def features(self) -> FeatureRepository:
        """With its registry in the cluster's PostgreSQL."""
        if self._repository is None:
            password = self.kubectl.secret(PLATFORM, "postgresql-credentials", "feast-password")
            address = self._url("postgresql").removeprefix("http://")
            registry = f"postgresql+psycopg://feast:{password}@{address}/feast"
            self._repository = FeatureRepository(self._home.features, registry)
        return self._repository

    def bring_online(self, sets: Mapping[str, Dataset], progress: Progress) -> None:
        """By the feature server, what the story's callers need; the worker writes the same data and defines the same features for training."""
        told = self.command("features", "apply", timeout_s=600.0)
        there = {item["name"]: item["version"] for item in told["datasets"]}
        if wrong := [name for name, item in sets.items() if there.get(name) != item.version]:
            raise NegativeVerdict(f"the worker's data are others than here: {', '.join(wrong)}")
        views = self.features().info(_CALLED).views
        with closing(FeatureServer(self._url("features"))) as server:
            for at, view in enumerate(views):
                frame = self.features().newest(view)
                for first in range(0, len(frame), _ROWS):
                    progress.update((at + first / len(frame)) / len(views), f"bringing {view} online")
                    server.write(view, frame[first : first + _ROWS])
            # the server looks at its registry from time to time
            key = {sets[_MODEL].entity: 1}
            patiently(lambda: server.get(_CALLED, [key]), within_s=_REGISTRY_S)

    def online(self, service: str, entities: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """From the feature server."""
        with closing(FeatureServer(self._url("features"))) as server:
            return server.get(service, entities)

    def equipped(self, service: str, callers: Sequence[Caller]) -> Sequence[Caller]:
        """With their features, looked up beforehand: on a small node that works hard a look-up in mid-request may be too slow."""
        names = self.features().info(service).features
        found = self.online(service, [caller.entity for caller in callers])
        if missing := sum(row[name] is None for row in found for name in names):
            raise NegativeVerdict(f"{missing} values of the callers' features are not online")
        return [
            replace(caller, row=[float(row[name]) for name in names])
            for caller, row in zip(callers, found, strict=True)
        ]

    def deliver(self, path: Path) -> str:
        """Into the claim of API and worker."""
        name = f"{_FOLDER}/{self.setting.model}/{path.name}"
        write = f"mkdir -p {_FOLDER}/{self.setting.model} && cat > {name}"
        self.kubectl.run(
            "exec", "-i", "-n", PLATFORM, _WORKER, "-c", "worker", "--", "sh", "-c", write, given=path.read_bytes()
        )
        return name

    def command(self, *words: str, timeout_s: float = 120.0) -> dict[str, Any]:
        """In the worker's pod."""
        program = ("exec", "-n", PLATFORM, _WORKER, "-c", "worker", "--", "maestro")
        return answer_of(
            words, *self.kubectl.ended(*program, *words, "--json", timeout_s=timeout_s * self.setting.pace.patience)
        )

    def graph(self) -> str:
        """The key `graph.yaml` of the router's ConfigMap."""
        return self._config_map(SERVING, _GRAPH, "graph.yaml")

    def write_graph(self, text: str) -> None:
        """As `kubectl edit cm ab-test-config` does."""
        patch = json.dumps({"data": {"graph.yaml": text}})
        self.kubectl.run("patch", "configmap", _GRAPH, "-n", SERVING, "--type", "merge", "--patch", patch)

    def graph_revision(self) -> int:
        """Of the graph as it is in force."""
        return int(yaml.safe_load(self.graph())["metadata"]["revision"])

    def events(self) -> list[Event]:
        """As the API's pod reads them."""
        told = self.kubectl.run("exec", "-n", PLATFORM, _API, "-c", "api", "--", "python", "-c", _EVENTS)
        return [Event.model_validate(item) for item in json.loads(told)]

    def ready(self, namespace: str, name: str) -> None:
        """Return once a workload is.

        Raises:
            Unreachable: it is not in time.
        """
        self.kubectl.run("rollout", "status", "-n", namespace, name, "--timeout=140s")

    def _ready(self, namespace: str, name: str) -> None:
        code, _, _ = self.kubectl.ended("get", "-n", namespace, name)
        if code:
            raise NotFound(
                f"the platform is not on this cluster: {namespace} has no {name}", field="KUBECONFIG",
                remedy="apply it: kubectl apply -f infrastructure/kubernetes/namespaces.yaml, maestro platform secrets, make minikube",
            )  # fmt: skip
        self.ready(namespace, name)

    @contextmanager
    def _router(self) -> Iterator[None]:
        """The router with its sample, as it was installed; afterwards with what it served before."""
        before = self.graph()
        name = str(yaml.safe_load(before)["metadata"]["name"])
        sample = _sample()
        ours = name == "sample" or name.startswith(f"{_MODEL}-")
        if not ours and not self._replace:
            raise Conflict(
                f"the router serves {name}", field="replace",
                remedy="use a cluster where nothing is served, or --replace: until the end the story's model is served in its place",
            )  # fmt: skip
        self.write_graph(sample)
        try:
            yield
        finally:
            self.write_graph(sample if ours else before)

    @contextmanager
    def _evidence(self) -> Iterator[None]:
        self._set([f"{name}={value}" for name, value in _EVIDENCE.items()])
        try:
            yield
        finally:
            self._set([f"{name}-" for name in _EVIDENCE])

    def _set(self, variables: Sequence[str]) -> None:
        self.kubectl.run("set", "env", "-n", PLATFORM, _API, "-c", "api", *variables)
        self.ready(PLATFORM, _API)

    def _people(self, url: str) -> None:
        """Keys below the home: operator and approver are the installation's first two people, the others are made for the story."""
        operator = self.kubectl.secret(PLATFORM, "maestro-operator-key", "token")
        tokens = {"service": operator, "reviewer": self.kubectl.secret(PLATFORM, "maestro-approver-key", "token")}
        api = ApiClient(url, operator)
        patiently(lambda: api.get("/whoami"))
        for name, kind in (("submitter", "human"), ("agent", "agent")):
            api.post("/principals", {"name": name, "kind": kind, "roles": ["submitter"]})
            tokens[name] = api.post(f"/principals/{name}/keys", {"expires_in_s": 6 * 3600})["token"]
        for name, token in tokens.items():
            write_private(self._home.keys / f"{name}.token", token)

    def _config_map(self, namespace: str, name: str, key: str) -> str:
        path = "{.data." + key.replace(".", "\\.") + "}"
        return self.kubectl.run("get", "configmap", name, "-n", namespace, "-o", f"jsonpath={path}")

    def _url(self, service: str) -> str:
        state = self._home.read_state()
        if state is None:
            raise Unreachable("the place is not running", component="cluster")
        return str(state.services[service].url)


def in_cluster(place: Place) -> InCluster:
    """The place, for a step that only a cluster can show.

    Raises:
        BadInput: it is another.
    """
    if not isinstance(place, InCluster):
        raise BadInput("only a cluster can show this", field="place", remedy="maestro demo --cluster")
    return place


def _sample() -> str:
    if not _SAMPLE.exists():
        raise NotFound(f"{_SAMPLE} is not here", field="cwd", remedy="run this in the project's folder")
    bodies = yaml.safe_load_all(_SAMPLE.read_text())
    return str(next(body["data"]["graph.yaml"] for body in bodies if body["kind"] == "ConfigMap"))


def patiently(ask: Callable[[], Answer], within_s: float = 60.0) -> Answer:
    """The first answer: a pod that was replaced leaves its Service some seconds later, and what was defined is not known at once."""
    deadline = time.monotonic() + within_s
    while True:
        try:
            return ask()
        except (Unreachable, NotFound):
            if time.monotonic() > deadline:
                raise
            time.sleep(0.5)
