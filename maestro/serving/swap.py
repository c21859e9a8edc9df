"""Hot swap: graph files are followed; a new revision is verified, loaded and warmed before one assignment makes it the one that answers."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from maestro.core.canonical import digest_bytes
from maestro.core.clock import Clock
from maestro.core.errors import BadInput, MaestroError, NotFound
from maestro.core.graph import InferenceGraph, ModelNode
from maestro.core.model import Time
from maestro.core.seams import Alert
from maestro.core.versions import parse_version
from maestro.security.statements import Purpose
from maestro.serving.admission import purposes
from maestro.serving.assembly import Observer, assemble
from maestro.serving.breakers import Breakers
from maestro.serving.caches import PredictionCache
from maestro.serving.dataplane import DataPlane
from maestro.serving.graph.remote_http import RemoteClient
from maestro.serving.graph_changes import GraphChanges
from maestro.serving.graph_file import identity, parse_graph, read_graph
from maestro.serving.loaded import LoadedVersion
from maestro.serving.loading import VersionLoader
from maestro.serving.policies import Policies
from maestro.serving.sampling import Sampler
from maestro.serving.served import ServedGraph

log = logging.getLogger(__name__)

DRAIN_S = 30.0


@dataclass(frozen=True)
class Refusal:
    """Why a graph file is not served."""

    content: str | None
    revision: int | None
    at: Time
    error: MaestroError


class Replicas(Protocol):
    """Other processes that answer on the same revisions.

    Obligations: `prepare` returns when every process that answers has the revision loaded and warm, and raises when one that lives cannot;
    `publish` returns when every one answers on it; a process that dies in between is nobody's concern but its replacement's, which begins
    with what is published.
    """

    async def prepare(self, served: ServedGraph) -> None:
        """Load a revision everywhere."""
        ...

    async def publish(self, served: ServedGraph) -> None:
        """Answer on it everywhere."""
        ...


class GraphFollower:
    """Keeps the data plane on what the graph files say.

    Every file `<model>.yaml` in the folder is one model's graph. A file that cannot be read, breaks a contract or names a version that is corrupt,
    unsigned or not admitted is refused: what was served stays, the reason is kept and counted, and the file is tried again when it or
    anything that the refusal may hang on (the version's folder, the trust policy) has changed. A statement is asked for when traffic is given:
    one that expires or is revoked later takes nothing away until the graph moves. The versions of the revision before stay loaded, so that
    going back is instant. Needs no network, database or registry. `previous` holds the revision before by model, `answering` the one that every process
    answers on.

    Args:
        folder: the graph files.
        plane: whose `graphs` are replaced.
        poll_s: how often files are looked at beside the changes that the kernel tells of, and refusals tried again.
        on_loaded: called in a thread with model and revision before a revision may start to answer: whatever takes time belongs there.
        on_served: called on the event loop just before a revision starts to answer.
        observe: called with each first attempt of an arm.
        policies: what bandits act on; None refuses them.
        answers: what the versions loaded here remember of their answers.
        breakers: those of the server; its own when None.
        sampler: takes some of the rows and answers of each arm.
        alert: called in a thread of its own when a file is refused anew.
        remote_key: the file with the key by which remote nodes are asked.
    """

    def __init__(
        self,
        folder: Path,
        plane: DataPlane,
        loader: VersionLoader,
        clock: Clock,
        *,
        on_loaded: Callable[[str, int], None] = lambda model, revision: None,
        on_served: Callable[[ServedGraph], None],
        observe: Observer,
        poll_s: float,
        policies: Policies | None = None,
        answers: PredictionCache | None = None,
        breakers: Breakers | None = None,
        sampler: Sampler | None = None,
        alert: Callable[[Alert], Any] = lambda alert: None,
        remote_key: Path | None = None,
    ) -> None:
        self.alert = alert
        self.refusals: dict[str, Refusal] = {}
        self.previous: dict[str, ServedGraph] = {}
        self.answering: dict[str, ServedGraph] = {}
        self.replicas: Replicas | None = None
        self._folder = folder
        self._plane = plane
        self._loader = loader
        self._clock = clock
        self._on_loaded = on_loaded
        self._on_served = on_served
        self._observe = observe
        self._poll_s = poll_s
        self._policies = policies
        self._answers = answers
        self._breakers = breakers or Breakers()
        self._sampler = sampler
        self._tried: dict[str, tuple[object, ...]] = {}
        self._refused: dict[str, InferenceGraph] = {}
        self._loaded: dict[str, LoadedVersion] = {}
        self._pins: Counter[str] = Counter()
        self._loading: dict[str, asyncio.Lock] = {}
        self._attempts: dict[str, asyncio.Task[None]] = {}
        self._again: set[str] = set()
        self._changes = GraphChanges(folder)
        self._client = RemoteClient(remote_key)
        self._background: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Follow until cancelled."""
        with self._changes as changes:
            while True:
                try:
                    await self.look()
                except Exception:  # a follower that dies would freeze traffic where it is
                    log.exception("graph files could not be looked at")
                await changes.wait(self._poll_s)

    async def look(self) -> None:
        """One look at every file, each on its own: a model that loads slowly does not keep another from moving."""
        files = {path.stem: path for path in sorted(self._folder.glob("*.yaml"))} if self._folder.is_dir() else {}
        for model, path in files.items():
            if model in self._attempts:
                self._again.add(model)
            else:
                task = self._attempts[model] = asyncio.get_running_loop().create_task(self._look_at(model, path))
                task.add_done_callback(lambda done, model=model: self._looked_at(model, done))  # type: ignore[misc]
        for model in set(self._plane.graphs) - set(files):
            if model not in self._tried:
                continue
            del self._tried[model]
            self._refuse(
                model,
                None,
                None,
                NotFound(f"graph file {model}.yaml is gone; the last revision stays", remedy="write the file again"),
            )

    async def settle(self, timeout_s: float) -> None:
        """Wait until every attempt under way has ended, at most `timeout_s`."""
        if self._attempts:
            await asyncio.wait(list(self._attempts.values()), timeout=timeout_s)

    async def close(self) -> None:
        """Release every version."""
        await self._client.aclose()
        pending = [*self._background, *self._attempts.values()]
        for task in pending:
            task.cancel()
        await asyncio.gather(*pending, return_exceptions=True)
        for loaded in self._loaded.values():
            loaded.close()
        self._loaded.clear()

    def _looked_at(self, model: str, done: asyncio.Task[None]) -> None:
        self._attempts.pop(model, None)
        if model in self._again:
            self._again.discard(model)
            self._changes.tell()
        if not done.cancelled() and (error := done.exception()) is not None:
            log.error("graph of %s could not be looked at", model, exc_info=error)

    def loaded(self, digest: str) -> LoadedVersion | None:
        """The version of a digest, as long as anything may still ask it."""
        return self._loaded.get(digest)

    def loading(self) -> list[str]:
        """Models whose file is being looked at, or whose versions are loading."""
        return sorted(self._attempts)

    def pending(self) -> list[str]:
        """Models whose file asks for something that is not served."""
        return sorted(self.refusals)

    async def _look_at(self, model: str, path: Path) -> None:
        content: str | None = None
        graph: InferenceGraph | None = None
        try:
            data = await asyncio.to_thread(read_graph, path)
            content = digest_bytes(data)
            if self._tried.get(model) == (content, *self._hangs_on(model)):
                return
            self._refused.pop(model, None)
            current = self._plane.graphs.get(model)
            if current is None or current.content != content:
                graph = await asyncio.to_thread(parse_graph, data, path.name)
                if graph.metadata.name != model:
                    raise BadInput(
                        f"{path.name} holds the graph of {graph.metadata.name!r}",
                        field="metadata.name",
                        remedy=f"name the file {graph.metadata.name}.yaml",
                    )
                # Remembered before the attempt: what changes while it runs is a reason to try again.
                self._refused[model] = graph
                self._tried[model] = (content, *self._hangs_on(model))
                await self._swap(model, graph, content)
                self._refused.pop(model, None)
            self.refusals.pop(model, None)
            self._tried[model] = (content,)
        except MaestroError as error:
            if content is None and not path.exists():
                return  # it went while we looked: the next look says so, once
            if graph is None:
                self._tried[model] = (content,)
            self._refuse(model, content, None if graph is None else graph.metadata.revision, error)

    def _hangs_on(self, model: str) -> list[object]:
        """What the refusal of a graph may hang on beside its file: the trust policy and the versions that it names."""
        graph = self._refused.get(model)
        if graph is None:
            return []
        paths = [self._loader.trust_path]
        for node in graph.models().values():
            folder = self._loader.home.version(node.model, node.version)
            paths += [
                folder,
                folder / "files",
                folder / "provenance.json",
                folder / "manifest.json",
                folder / "statements",
            ]
            if (folder / "statements").is_dir():
                paths += sorted((folder / "statements").iterdir())
        return [identity(path) for path in paths]

    def _refuse(self, model: str, content: str | None, revision: int | None, error: MaestroError) -> None:
        last = self.refusals.get(model)
        self.refusals[model] = Refusal(content, revision, self._clock.now(), error)
        if last is None or (last.content, last.error.detail) != (content, error.detail):
            self._plane.metrics.swaps["refused"] += 1
            log.warning("graph of %s refused: %s", model, error.detail)
            said = f"{error.detail}; what was served stays" if model in self._plane.graphs else error.detail
            title = f"the graph of {model} is refused"
            alert = Alert(title=title, body=said, severity="warning", source=f"serving/{model}/graph")
            self._spawn(self._tell(alert))

    async def _tell(self, alert: Alert) -> None:
        try:
            await asyncio.to_thread(self.alert, alert)
        except Exception:  # a receiver that fails must not end the follower
            log.exception("an alert could not be sent")

    async def _swap(self, model: str, graph: InferenceGraph, content: str) -> None:
        current = self._plane.graphs.get(model)
        # Pinned until the graph holds them, so that no other model's swap releases what this one is about to use.
        pinned = [node.digest for node in graph.models().values()]
        self._pins.update(pinned)
        try:
            served = await self._prepare(graph, content)
            if current is not None:
                _refuse_break(current, served)
            await self._plane.warm_up(served)
            await asyncio.to_thread(self._on_loaded, model, served.revision)
            if self.replicas is not None:
                await self.replicas.prepare(served)
            self._on_served(served)
            self._plane.graphs[model] = served  # the switch: requests under way keep the revision that they took
            self._keep(model, current)
            try:
                if self.replicas is not None:
                    await self.replicas.publish(served)
            finally:
                self.answering[model] = served
        finally:
            self._pins.subtract(pinned)
            if self._plane.graphs.get(model) is current:
                await self._release(pinned)
        self._plane.metrics.swaps["ok"] += 1
        log.info("graph of %s: revision %d answers", model, served.revision)

    def _keep(self, model: str, current: ServedGraph | None) -> None:
        """Keep the revision that answered until now, and let go of the one before it. Done before the replicas switch: what is named here stays with them."""
        if current is None:
            return
        retired = self.previous.get(model)
        self.previous[model] = current
        if retired is not None:
            self._spawn(self._retire(retired))

    async def _version(self, node: ModelNode, purpose: Purpose) -> LoadedVersion:
        async with self._loading.setdefault(node.digest, asyncio.Lock()):
            loaded = self._loaded.get(node.digest)
            if loaded is not None:
                await asyncio.to_thread(self._loader.admit, node, purpose)
                return loaded
            loaded = await asyncio.to_thread(self._loader.load, node, purpose)
            loaded.answers = self._answers
            loaded.breaker = self._breakers.of(node.digest, node.model)
            self._loaded[node.digest] = loaded
            return loaded

    async def _prepare(self, graph: InferenceGraph, content: str) -> ServedGraph:
        wanted = purposes(graph)
        versions: dict[str, LoadedVersion] = {}
        for name, purpose in wanted.items():
            node = graph.nodes[name]
            assert isinstance(node, ModelNode)  # noqa: S101 - purposes lists model nodes only
            versions[name] = await self._version(node, purpose)

        return assemble(
            graph,
            content,
            versions,
            wanted,
            metrics=self._plane.metrics,
            observe=self._observe,
            spawn=self._spawn,
            client=self._client,
            policies=self._policies,
            breaker=lambda address: self._breakers.of(address, address),
            sampler=self._sampler,
        )

    async def _retire(self, retired: ServedGraph) -> None:
        """Release a revision once nobody waits for its answers."""
        if self.replicas is not None:
            await asyncio.sleep(DRAIN_S)  # what other processes have under way is not known here
        deadline = self._clock.monotonic() + DRAIN_S
        while retired.inflight and self._clock.monotonic() < deadline:
            await asyncio.sleep(0.05)
        await self._release([loaded.digest for loaded in retired.versions.values()])

    async def _release(self, digests: Iterable[str]) -> None:
        """Close those versions that no current and no previous revision of any model holds, and none that is being prepared."""
        held = {
            loaded.digest
            for graphs in (self._plane.graphs, self.previous)
            for served in graphs.values()
            for loaded in served.versions.values()
        }
        for digest in set(digests) - held:
            if self._pins[digest] <= 0 and (loaded := self._loaded.pop(digest, None)) is not None:
                self._breakers.forget(digest)
                await asyncio.to_thread(loaded.close)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)


def _refuse_break(current: ServedGraph, following: ServedGraph) -> None:
    before, after = current.contract, following.contract
    if before is None or after is None or not before.breaks(after):
        return
    old, new = (_production(served) for served in (current, following))
    if old is not None and new is not None and parse_version(new).major > parse_version(old).major:
        return
    raise BadInput(
        "the new version's contract breaks the one that callers rely on (features, order, output or entity keys differ)",
        field="nodes",
        remedy="give a version that breaks its callers a new major number, and tell them",
    )


def _production(served: ServedGraph) -> str | None:
    for name, loaded in served.versions.items():
        if served.purposes[name] == "production":
            return loaded.version
    return None
