"""The parent of several workers: the graph, the evidence, the control routes and the workers' lives are its own; it answers no inference.

A worker that dies is replaced. Its socket stays open here meanwhile, so that callers wait for the successor instead of being turned away, and what it
counted stays, since its successor counts on in the same memory.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import secrets
import socket
import subprocess
import sys
import time
from typing import Any

import msgspec

from maestro.core.contract import ModelContract
from maestro.core.errors import MaestroError, Unreachable
from maestro.core.graph import RemoteNode
from maestro.serving.counters import Bank
from maestro.serving.engine import messages
from maestro.serving.engine.breakers import TICK_S, BreakerBoard
from maestro.serving.engine.channel import CallFailed, Channel, ChannelClosed
from maestro.serving.engine.control import ControlRequest, LocalControl
from maestro.serving.engine.messages import (
    BatchMessage,
    CommitMessage,
    FeaturesMessage,
    PredictionMessage,
    PredictMessage,
    PrepareMessage,
    ProbedMessage,
    SampleMessage,
    SeenMessage,
    Start,
    VersionMessage,
)
from maestro.serving.engine.rate import TABLE_BYTES
from maestro.serving.engine.single import reserved
from maestro.serving.runtimes import ModelTimeout
from maestro.serving.runtimes._base import ORIGINAL
from maestro.serving.served import ServedGraph
from maestro.serving.server import ModelServer

log = logging.getLogger(__name__)

START_S = 60.0
DRAIN_S = 20.0
_PAUSES_S = (0.0, 0.2, 1.0, 5.0)
_STEADY_S = 30.0
"""A worker that has lived for so long dies by accident: its successor is started at once."""

_seen = msgspec.msgpack.Decoder(SeenMessage).decode
_control = msgspec.msgpack.Decoder(ControlRequest).decode
_predict = msgspec.msgpack.Decoder(PredictMessage).decode
_features = msgspec.msgpack.Decoder(FeaturesMessage).decode
_samples = msgspec.msgpack.Decoder(list[SampleMessage]).decode
_probed = msgspec.msgpack.Decoder(ProbedMessage).decode
_text = msgspec.msgpack.Decoder(str).decode


class _Member:
    """One worker process, as its parent sees it."""

    def __init__(self, slot: int, process: subprocess.Popen[bytes], channel: Channel) -> None:
        self.slot = slot
        self.process = process
        self.channel = channel
        self.began = time.monotonic()
        self.open = False


class Parent:
    """Starts workers, publishes revisions to them, and answers what they ask.

    Args:
        server: not yet started; its metrics become the sum of all processes.
        socks: one bound socket a worker, all on one port.
    """

    def __init__(self, server: ModelServer, socks: list[socket.socket]) -> None:
        self.server = server
        self._socks = socks
        self._private = server.private
        self._banks = [Bank.of(self._private / f"bank-{slot}") for slot in range(len(socks))]
        server.metrics.others = lambda: self._banks
        server.evidence.catch_up = self.catch_up
        server.follower.replicas = self
        self._rate_table = self._private / "rates"
        self._rate_table.write_bytes(bytes(TABLE_BYTES))
        self._rate_key = secrets.token_hex(16)
        attempts = [Bank.of(self._private / f"attempts-{slot}") for slot in range(len(socks))]
        self._board = BreakerBoard(Bank.of(self._private / "breakers"), attempts)
        self._grpc: socket.socket | None = None
        self._control = LocalControl(server)
        self._members: dict[int, _Member] = {}
        self._generations = itertools.count(1)
        self._published: dict[str, PrepareMessage] = {}
        self._prepared: dict[int, PrepareMessage] = {}
        self._failures = [0] * len(socks)
        self._tasks: set[asyncio.Task[None]] = set()
        self._ending = False

    async def start(self) -> None:
        """Load what the graphs say, then start every worker and wait until all take connections."""
        self.server.workers_ready = lambda: any(member.open for member in self._members.values())
        grpc = self.server.options.serving.grpc
        if grpc is not None:
            # Held, and never listened on: the workers share the port, which nobody else can take.
            self._grpc = reserved(grpc)
            self.server.grpc_port = self._grpc.getsockname()[1]
        await self.server.start()
        self._spawn(self._ticking())
        await asyncio.gather(*(self._begin(slot) for slot in range(len(self._socks))))

    async def stop(self) -> None:
        """Have every worker answer what it has begun, write what waits to be written, end."""
        self._ending = True
        self.server.draining = True
        members = list(self._members.values())
        for member in members:
            member.channel.tell(messages.DRAIN, None)
        for sock in (*self._socks, *([self._grpc] if self._grpc is not None else [])):
            sock.close()
        deadline = time.monotonic() + DRAIN_S + 2
        while any(member.process.poll() is None for member in members) and time.monotonic() < deadline:
            await asyncio.sleep(0.02)
        for member in members:
            if member.process.poll() is None:
                log.warning("worker %d did not end in time and is killed", member.slot)
                member.process.kill()
            member.process.wait()
            member.channel.catch_up()
            member.channel.close()
        for task in list(self._tasks):
            task.cancel()
        await self.server.stop()

    def catch_up(self) -> None:
        """Take in what the workers have told before this moment."""
        for member in list(self._members.values()):
            member.channel.catch_up()

    def pids(self) -> list[int]:
        """The workers' processes."""
        return [member.process.pid for member in self._members.values()]

    # What the follower of graphs asks for.

    async def prepare(self, served: ServedGraph) -> None:
        """Load a revision in every worker that lives."""
        message = self._message(served)
        served.generation = message.generation
        self._prepared[message.generation] = message
        try:
            await self._everywhere(messages.PREPARE, message)
        except BaseException:
            del self._prepared[message.generation]
            raise

    async def publish(self, served: ServedGraph) -> None:
        """Have every worker answer on a revision that is loaded there."""
        message = self._prepared.pop(served.generation)
        self._published[served.model] = message
        await self._everywhere(messages.COMMIT, self._commit(message))

    def _message(self, served: ServedGraph) -> PrepareMessage:
        for loaded in served.versions.values():
            self._board.show(loaded.digest, self.server.breakers.of(loaded.digest, loaded.model))
        for node in served.graph.nodes.values():
            if isinstance(node, RemoteNode):
                self._board.show(node.url, self.server.breakers.of(node.url, node.url))
        versions = [
            VersionMessage(
                node=node,
                model=loaded.model,
                version=loaded.version,
                digest=loaded.digest,
                folder=str(loaded.folder),
                kind=loaded.runtime.kind,
                purpose=served.purposes[node],
                local=ORIGINAL not in loaded.runtime.path,
                signed=loaded.signed,
                contract=loaded.contract.document(),
            )
            for node, loaded in served.versions.items()
        ]
        return PrepareMessage(next(self._generations), served.content, served.graph.document(), versions)

    def _commit(self, message: PrepareMessage) -> CommitMessage:
        held = [*self.server.plane.graphs.values(), *self.server.follower.previous.values()]
        keep = {loaded.digest for served in held for loaded in served.versions.values()}
        keep |= {version.digest for version in message.versions}
        return CommitMessage(message.generation, message.graph["metadata"]["name"], sorted(keep))

    async def _everywhere(self, kind: str, payload: Any) -> None:
        answers = await asyncio.gather(
            *(member.channel.ask(kind, payload) for member in self._members.values()), return_exceptions=True
        )
        for answer in answers:
            if isinstance(answer, CallFailed):
                raise Unreachable(f"a worker cannot load the revision: {answer}", remedy="see the server's log")
            if isinstance(answer, BaseException) and not isinstance(answer, ChannelClosed):
                raise answer

    # The workers' lives.

    async def _begin(self, slot: int) -> None:
        ours, theirs = socket.socketpair()
        listen = self._socks[slot]
        start = self._start(slot, listen.fileno(), theirs.fileno())
        process = subprocess.Popen(
            [sys.executable, "-m", "maestro.serving.engine.worker", msgspec.json.encode(start).decode()],
            pass_fds=(listen.fileno(), theirs.fileno()),
            stdin=subprocess.DEVNULL,
        )
        theirs.close()
        member: _Member
        channel = Channel(ours, lambda *told: self._received(member, *told), lambda: self._died(member))
        member = _Member(slot, process, channel)
        self._members[slot] = member
        try:
            async with asyncio.timeout(START_S):
                # Published while it loads: it hears of what it missed, and of nothing twice that matters.
                for message in list(self._published.values()):
                    await channel.ask(messages.PREPARE, message)
                    await channel.ask(messages.COMMIT, self._commit(message))
                await channel.ask(messages.OPEN, None)
        except (ChannelClosed, CallFailed, TimeoutError) as error:
            log.error("worker %d did not start: %s", slot, error)
            process.kill()
            return
        member.open = True
        log.info("worker %d answers (process %d)", slot, process.pid)

    def _start(self, slot: int, listen: int, channel: int) -> Start:
        server, home = self.server, self.server.home
        serving = server.options.serving
        tls = None if serving.tls_cert is None else (str(serving.tls_cert), str(serving.tls_key))
        return Start(
            slot=slot,
            listen=listen,
            channel=channel,
            bank=str(self._private / f"bank-{slot}"),
            plans=str(home.plans),
            graphs=str(home.graphs),
            units=str(home.keys / "units.json"),
            verifiers=str(home.server_keys),
            private=[str(home.keys), str(home.database)],
            auth=serving.auth,
            oidc=server.oidc,
            max_body=serving.max_body_bytes,
            max_rows=serving.max_rows,
            queue_limit=serving.queue_limit,
            max_connections=serving.max_connections,
            rate_per_s=serving.rate_per_s,
            rate_burst=serving.rate_burst,
            rate_table=str(self._rate_table),
            rate_key=self._rate_key,
            tls=tls,
            remote_key=None if serving.remote_key is None else str(serving.remote_key),
            log_level=server.options.log_level,
            prediction_cache_bytes=serving.prediction_cache_bytes,
            prediction_cache_ttl_s=serving.prediction_cache_ttl_s,
            feature_timeout_s=serving.feature_timeout_s,
            breakers=str(self._private / "breakers"),
            attempts=str(self._private / f"attempts-{slot}"),
            grpc=None if self._grpc is None else _address(self._grpc),
        )

    def _died(self, member: _Member) -> None:
        member.open = False
        if self._ending:
            return
        lived = time.monotonic() - member.began
        slot = member.slot
        self._failures[slot] = 0 if lived > _STEADY_S else self._failures[slot] + 1
        pause = _PAUSES_S[min(self._failures[slot], len(_PAUSES_S) - 1)]
        log.error("worker %d (process %d) has died; another takes its place", slot, member.process.pid)
        self._spawn(self._replace(member, pause))

    async def _replace(self, member: _Member, pause: float) -> None:
        with contextlib.suppress(OSError):
            member.process.kill()
        await asyncio.to_thread(member.process.wait)
        await asyncio.sleep(pause)
        if not self._ending:
            await self._begin(member.slot)

    # What the workers ask for.

    def _received(self, member: _Member, kind: str, number: int, payload: msgspec.Raw) -> None:
        match kind:
            case messages.SEEN:
                self._observe(_seen(payload))
            case messages.CONTROL:
                self._spawn(self._answering(member.channel, number, self._controlled(_control(payload))))
            case messages.PREDICT:
                self._spawn(self._answering(member.channel, number, self._predicted(_predict(payload))))
            case messages.FEATURES:
                self._spawn(self._answering(member.channel, number, self._looked_up(_features(payload))))
            case messages.SAMPLES:
                for sample in _samples(payload):
                    contract = self._contract(sample.model, sample.arm, sample.revision)
                    self.server.watch(messages.sample_of(sample, contract))
            case messages.FAILED:
                self._board.tick()
            case messages.TICKET:
                member.channel.reply(number, self._board.ticket(_text(payload)))
            case messages.PROBED:
                self._board.probed(_probed(payload))
            case _:
                log.error("a worker says %s, which means nothing here", kind)

    async def _answering(self, channel: Channel, number: int, work: Any) -> None:
        try:
            channel.reply(number, await work)
        except MaestroError as error:
            channel.fail(number, messages.refusal(error))
        except Exception as error:
            log.exception("what a worker asked for failed")
            channel.fail(number, f"{type(error).__name__}: {error}")

    def _observe(self, message: SeenMessage) -> None:
        contract = self._contract(message.model, message.arm, message.revision)
        self.server.observe(message.model, messages.observation(message, contract))

    def _contract(self, model: str, arm: str, revision: int) -> ModelContract | None:
        """What an arm's rows keep to, while its revision or the next is served."""
        for served in (self.server.plane.graphs.get(model), self.server.follower.previous.get(model)):
            if served is not None and served.revision == revision:
                node = served.nodes.get(arm)
                return node.contracts[0] if node is not None and node.contracts else None
        return None

    async def _ticking(self) -> None:
        while True:
            await asyncio.sleep(TICK_S)
            self._board.tick()

    async def _controlled(self, request: ControlRequest) -> Any:
        return await self._control.answer(request)

    async def _predicted(self, message: PredictMessage) -> PredictionMessage:
        loaded = self.server.follower.loaded(message.digest)
        if loaded is None:
            return PredictionMessage([], error="error", detail="the version is not loaded")
        batch: BatchMessage = message.batch
        try:
            answer = await loaded.batcher.answer(messages.batch_of(batch, loaded.contract), message.timeout_s)
        except ModelTimeout as error:
            return PredictionMessage([], error="timeout", detail=error.detail)
        except MaestroError as error:
            return PredictionMessage([], error="error", detail=error.detail)
        return PredictionMessage(answer.values, None if answer.scores is None else answer.scores.tolist())

    async def _looked_up(self, message: FeaturesMessage) -> list[dict[str, float | None] | str]:
        told = await self.server.plane.features_of(message.service, message.rows)
        return [messages.refusal(row) if isinstance(row, MaestroError) else row for row in told]

    def _spawn(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _address(sock: socket.socket) -> str:
    host, port = sock.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
