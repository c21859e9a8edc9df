"""A worker: a door with replicas of what the parent has verified and loaded. `python -m maestro.serving.engine.worker` is started by the parent only.

It imports neither FastAPI nor anything of training, opens no journal and verifies no signature: it believes its parent, and nobody else.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import mmap
import signal
import socket
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import uvloop

from maestro import __version__
from maestro.core.clock import SystemClock
from maestro.core.contract import ModelContract
from maestro.core.errors import MaestroError
from maestro.core.graph import BanditNode, InferenceGraph
from maestro.serving.assembly import assemble
from maestro.serving.auth import ServerAuth
from maestro.serving.breaker import Breaker
from maestro.serving.caches import PredictionCache
from maestro.serving.contract import Validator
from maestro.serving.counters import Bank
from maestro.serving.dataplane import DataPlane
from maestro.serving.engine import messages
from maestro.serving.engine.breakers import SharedBreakers
from maestro.serving.engine.channel import Channel
from maestro.serving.engine.dispatch import TRACED, Dispatch
from maestro.serving.engine.door import Door
from maestro.serving.engine.handover import Handover
from maestro.serving.engine.messages import CommitMessage, PrepareMessage, Start, VersionMessage
from maestro.serving.engine.rate import TABLE_BYTES, RateLimit
from maestro.serving.engine.relay import RelayControl, RelayFeatures, RelayRuntime
from maestro.serving.engine.tls import tls_context
from maestro.serving.graph._base import Observation
from maestro.serving.graph.remote_http import RemoteClient
from maestro.serving.loaded import LoadedVersion
from maestro.serving.metrics import ServerMetrics
from maestro.serving.protocols.number_rows import NumberRows
from maestro.serving.runtimes import ModelRuntime, Runtimes, runtime_for
from maestro.serving.runtimes.planned import PlannedRuntime
from maestro.serving.sampling import Sampler
from maestro.serving.served import ServedGraph
from maestro.serving.units import UnitHasher

if TYPE_CHECKING:
    from maestro.serving.policies import Policies
    from maestro.serving.protocols.grpc.door import GrpcDoor

log = logging.getLogger(__name__)

DRAIN_S = 20.0

_prepare = msgspec.msgpack.Decoder(PrepareMessage).decode
_commit = msgspec.msgpack.Decoder(CommitMessage).decode


class Worker:
    """Answers on the revisions that the parent publishes.

    Args:
        start: what it was started with.
    """

    def __init__(self, start: Start) -> None:
        self._start = start
        self._runtimes = Runtimes([Path(path) for path in start.private], Path(start.plans))
        self._metrics = ServerMetrics(bank=Bank.of(Path(start.bank)))
        self._channel = Channel(socket.socket(fileno=start.channel), self._received, self._orphaned)
        self._plane = DataPlane(
            self._metrics,
            features=RelayFeatures(self._channel, start.feature_timeout_s),
            max_rows=start.max_rows,
            queue_limit=start.queue_limit,
            feature_timeout_s=start.feature_timeout_s,
            feature_breaker=Breaker(volume=2**62),  # the parent's own, behind the relay, is the one that opens
        )
        clock = SystemClock()
        auth = ServerAuth(start.auth, Path(start.verifiers), clock, oidc=start.oidc)  # type: ignore[arg-type]  # the parent's own setting
        self._policies: Policies | None = None
        self._answers = PredictionCache(max_bytes=start.prediction_cache_bytes, ttl_s=start.prediction_cache_ttl_s)
        control, rate = RelayControl(self._channel), _rate(start)
        self._handover = Handover(self._channel)
        self._sampler = Sampler(self._handover.take)
        self._breakers = SharedBreakers(Bank.of(Path(start.breakers)), Bank.of(Path(start.attempts)), self._channel)
        self._grpc: GrpcDoor | None = None
        if start.grpc is not None:
            from maestro.serving.protocols.grpc.door import GrpcDoor

            self._grpc = GrpcDoor(self._plane, auth, control, rate, max_body=start.max_body)
        self._door = Door(
            Dispatch(self._plane, auth, control, rate, NumberRows(Path(start.plans))),
            max_body=start.max_body,
            max_connections=start.max_connections,
            tls=None if start.tls is None else tls_context(Path(start.tls[0]), Path(start.tls[1])),
        )
        self._client = RemoteClient(None if start.remote_key is None else Path(start.remote_key))
        self._loaded: dict[str, LoadedVersion] = {}
        self._prepared: dict[int, ServedGraph] = {}
        self._generations: dict[str, int] = {}
        self._loading = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()
        self._over = asyncio.Event()

    async def run(self) -> None:
        """Answer until told to end, or until the parent has gone."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self._over.set)
        loop.add_signal_handler(signal.SIGINT, lambda: None)  # a terminal's; the parent decides
        await self._over.wait()
        ending = [self._door.drain(DRAIN_S)] + ([self._grpc.stop(DRAIN_S)] if self._grpc is not None else [])
        await asyncio.gather(*ending)
        self._handover.flush()
        for loaded in self._loaded.values():
            loaded.close()
        self._channel.close()

    def _orphaned(self) -> None:
        self._over.set()

    def _received(self, kind: str, number: int, payload: msgspec.Raw) -> None:
        match kind:
            case messages.PREPARE:
                self._spawn(self._answering(number, self._prepare(_prepare(payload))))
            case messages.COMMIT:
                self._commit(_commit(payload))
                self._channel.reply(number, True)
            case messages.OPEN:
                self._spawn(self._answering(number, self._open()))
            case messages.DRAIN:
                self._over.set()
            case _:
                log.error("the parent says %s, which means nothing here", kind)

    async def _open(self) -> None:
        start = self._start
        if self._grpc is not None and start.grpc is not None:
            tls = None if start.tls is None else (Path(start.tls[0]), Path(start.tls[1]))
            await self._grpc.start(start.grpc, tls=tls, shared=True)
        await self._door.listen(socket.socket(fileno=start.listen))

    async def _answering(self, number: int, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except MaestroError as error:
            self._channel.fail(number, error.detail)
        except Exception as error:
            log.exception("what the parent asked for failed")
            self._channel.fail(number, f"{type(error).__name__}: {error}")
        else:
            self._channel.reply(number, True)

    async def _prepare(self, told: PrepareMessage) -> None:
        graph = InferenceGraph.model_validate(told.graph)
        versions: dict[str, LoadedVersion] = {}
        async with self._loading:
            for version in told.versions:
                loaded = self._loaded.get(version.digest)
                if loaded is None:
                    loaded = await asyncio.to_thread(self._load, version, self._runtime(version))
                    self._loaded[version.digest] = loaded
                versions[version.node] = loaded
        self._prepared[told.generation] = assemble(
            graph,
            told.content,
            versions,
            {version.node: version.purpose for version in told.versions},  # type: ignore[misc]  # the parent's own words
            metrics=self._metrics,
            observe=self._observe,
            spawn=self._spawn,
            client=self._client,
            policies=self._bandits(graph),
            breaker=self._breakers.of,
            sampler=self._sampler,
        )

    def _bandits(self, graph: InferenceGraph) -> Policies | None:
        if self._policies is None and any(isinstance(node, BanditNode) for node in graph.nodes.values()):
            from maestro.serving.policies import Policies

            hasher = UnitHasher(Path(self._start.units), SystemClock())
            self._policies = Policies(Path(self._start.graphs), hasher.hash)
        return self._policies

    def _runtime(self, version: VersionMessage) -> ModelRuntime:
        contract = ModelContract.model_validate(version.contract)
        if not version.local:
            return RelayRuntime(self._channel, version.digest, contract, version.kind)
        folder = Path(version.folder) / "files"
        if version.kind == PlannedRuntime.kind:
            return self._runtimes.make(version.kind, folder, contract)
        return runtime_for(version.kind, folder, contract)

    def _load(self, version: VersionMessage, runtime: ModelRuntime) -> LoadedVersion:
        contract = ModelContract.model_validate(version.contract)
        model, metrics = version.model, self._metrics
        runtime.load()
        runtime.warm_up(Validator(contract).sample())
        loaded = LoadedVersion(
            model=model,
            version=version.version,
            digest=version.digest,
            contract=contract,
            validator=Validator(contract, lambda feature, count: metrics.out_of_range(model, feature, count)),
            runtime=runtime,
            trained=None,
            folder=None,
            signed=version.signed,
            queue_limit=self._start.queue_limit,
        )
        loaded.answers = self._answers
        loaded.breaker = self._breakers.of(version.digest)
        return loaded

    def _commit(self, told: CommitMessage) -> None:
        served = self._prepared.pop(told.generation, None)
        for generation in [
            each for each, other in self._prepared.items() if other.model == told.model and each < told.generation
        ]:
            del self._prepared[generation]  # one that another worker could not load, or that the parent gave up
        if served is not None and told.generation > self._generations.get(told.model, 0):
            self._generations[told.model] = told.generation
            self._plane.graphs[told.model] = served  # the switch: requests under way keep the revision that they took
        keep = {*told.keep, *(v.digest for s in self._prepared.values() for v in s.versions.values())}
        for digest in self._loaded.keys() - keep:
            asyncio.get_running_loop().call_later(DRAIN_S, self._loaded.pop(digest).close)

    def _observe(self, model: str, seen: Observation) -> None:
        if seen.experiment is None and all(unit.entity is None for unit in seen.units):
            return
        if self._channel.full:
            self._metrics.lost(len(seen.units))
            return
        self._channel.tell(messages.SEEN, messages.seen_message(model, seen))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _rate(start: Start) -> RateLimit | None:
    if start.rate_per_s is None:
        return None
    with Path(start.rate_table).open("r+b") as file:
        table = mmap.mmap(file.fileno(), TABLE_BYTES)
    return RateLimit(start.rate_per_s, start.rate_burst, table=table, key=bytes.fromhex(start.rate_key))


def main(argument: str) -> int:
    """Run one worker."""
    from maestro.observability.logging import configure
    from maestro.observability.trace_exporting import trace_exporting

    start = msgspec.json.decode(argument, type=Start)
    configure("server", start.log_level)

    gc.freeze()  # what was imported stays: no collection need look at it again while callers wait

    async def run() -> None:
        await Worker(start).run()

    with (
        trace_exporting("maestro-server", __version__, ratio=TRACED),
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        runner.run(run())
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1]))
