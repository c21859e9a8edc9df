"""The model server without its doors: everything that the protocol adapters stand on, put together once."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from maestro.clients.home import Home
from maestro.core.clock import Clock, SystemClock
from maestro.core.seams import Reading
from maestro.core.settings import Settings
from maestro.observability.notifier import create_notifier
from maestro.serving.auth import ServerAuth, oidc_settings
from maestro.serving.breakers import Breakers
from maestro.serving.caches import PredictionCache
from maestro.serving.dataplane import DataPlane
from maestro.serving.evidence import Evidence
from maestro.serving.exposures import ExposureLog
from maestro.serving.feature_sources import FeatureSource
from maestro.serving.graph._base import Observation
from maestro.serving.labels import LabelIntake
from maestro.serving.loading import VersionLoader
from maestro.serving.metrics import ServerMetrics
from maestro.serving.payloads import PayloadLog
from maestro.serving.policies import Policies
from maestro.serving.rewards import RewardIntake
from maestro.serving.runtimes import RuntimeFactory, Runtimes
from maestro.serving.sampling import Sample, Sampler
from maestro.serving.served import ServedGraph
from maestro.serving.streaming import StreamMonitor
from maestro.serving.swap import GraphFollower
from maestro.serving.units import UnitHasher

log = logging.getLogger(__name__)

START_S = 5.0
"""How long the port stays closed for versions that are loading."""
SAMPLE = "sample"
"""The model that an installation serves until something was released (`maestro.serving.sample`)."""
STORE = "feature store"
"""What metrics call the circuit breaker of the feature store."""
ENVIRONMENT = "production"
"""The environment whose statements count, unless another is named."""


@dataclass
class ModelServer:
    """Owns the data plane, the follower of graph files, the evidence and the exposure log.

    Args:
        home: where versions, graphs, trust policy and records lie.
        options: the settings.
        environment: the environment whose statements count.
        features: the feature store; None without one.
    """

    home: Home
    options: Settings
    environment: str = ENVIRONMENT
    clock: Clock = field(default_factory=SystemClock)
    features: FeatureSource | None = None
    runtimes: RuntimeFactory | None = None

    def __post_init__(self) -> None:
        serving = self.options.serving
        self._private = tempfile.TemporaryDirectory(prefix="maestro-serving-", ignore_cleanup_errors=True)
        self.metrics = ServerMetrics(unsigned_allowed=serving.allow_unsigned)
        self.breakers = Breakers()
        self.metrics.sources.append(self.breakers.series)
        self.plane = DataPlane(
            self.metrics,
            features=self.features,
            max_rows=serving.max_rows,
            queue_limit=serving.queue_limit,
            feature_timeout_s=serving.feature_timeout_s,
            feature_cache_bytes=serving.feature_cache_bytes,
            feature_cache_ttl_s=serving.feature_cache_ttl_s,
            feature_breaker=None if self.features is None else self.breakers.of(STORE, STORE),
        )
        self.oidc = oidc_settings(serving)
        self.auth = ServerAuth(serving.auth, self.home.server_keys, self.clock, oidc=self.oidc)
        self.hasher = UnitHasher(self.home.keys / "units.json", self.clock)
        self.evidence = Evidence(self.home.exposures, self.hasher, self.metrics, self.clock)
        self.exposures = ExposureLog(self.home.exposures, self.hasher, self.clock, limit=serving.exposure_queue)
        self.metrics.dropped = lambda: self.exposures.dropped + self.evidence.dropped + self.metrics.lost_total()
        self.labels = LabelIntake(self.plane, self.evidence)
        self.policies = Policies(self.home.graphs, self.hasher.hash)
        self.metrics.sources.append(self.policies.series)
        self.metrics.sources.append(self._revisions)
        self.rewards = RewardIntake(self.home.exposures, self.plane, self.hasher)
        notify = create_notifier(self.options.notify).notify
        self.streams = StreamMonitor(alert=notify)
        self.metrics.sources.append(lambda: self.streams.series())
        self.payloads = PayloadLog(
            self.home.payloads, self.clock, rows_per_s=serving.payload_rows_per_s, max_bytes=serving.payload_bytes
        )
        loader = VersionLoader(
            self.home,
            Path(self._private.name),
            trust_path=self.options.trust_policy or self.home.trust_policy,
            environment=self.environment,
            clock=self.clock,
            allow_unsigned=serving.allow_unsigned,
            runtimes=self.runtimes or Runtimes([self.home.keys, self.home.database], self.home.plans),
            out_of_range=self._out_of_range,
        )
        self.follower = GraphFollower(
            self.home.graphs,
            self.plane,
            loader,
            self.clock,
            on_loaded=self._on_loaded,
            on_served=self._on_served,
            observe=self.observe,
            poll_s=serving.graph_poll_s,
            policies=self.policies,
            answers=PredictionCache(max_bytes=serving.prediction_cache_bytes, ttl_s=serving.prediction_cache_ttl_s),
            breakers=self.breakers,
            sampler=Sampler(self.watch),
            alert=notify,
            remote_key=serving.remote_key,
        )
        self.draining = False
        self.grpc_port: int | None = None
        self.workers_ready: Callable[[], bool] = lambda: True
        self._following: asyncio.Task[None] | None = None

    @property
    def private(self) -> Path:
        """A folder that only this server reads."""
        return Path(self._private.name)

    async def start(self) -> None:
        """Serve what the graph files say, and follow them. What takes longer to load is served when it has; readiness tells."""
        await self.follower.look()
        await self.follower.settle(START_S)
        self._following = asyncio.get_running_loop().create_task(self.follower.run())

    async def stop(self) -> None:
        """Write what waits to be written, end model processes."""
        self.draining = True
        if self._following is not None:
            self._following.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._following
        await self.follower.close()
        await asyncio.to_thread(self.exposures.close)
        await asyncio.to_thread(self.streams.close)
        await asyncio.to_thread(self.payloads.close)
        self.evidence.close()
        self.rewards.close()
        self.plane.close()
        self._private.cleanup()

    def is_ready(self) -> bool:
        """Whether the server answers for every graph that lies there: at least one, none of them without a served revision."""
        wanted = {*self.follower.refusals, *self.follower.loading()}
        return (
            not self.draining
            and self.workers_ready()
            and bool(self.plane.graphs)
            and not wanted - self.plane.graphs.keys()
        )

    def health(self) -> dict[str, Any]:
        """The server's own view of itself."""
        return {
            "status": "draining" if self.draining else "alive",
            **self.readiness(),
            "models": {model: served.revision for model, served in self.follower.answering.items()},
            "refused": self.follower.pending(),
        }

    def readiness(self) -> dict[str, Any]:
        """Whether it answers for every graph, whether that is the installation's sample alone, and whether it would load what nobody has signed."""
        return {
            "ready": self.is_ready(),
            "unsigned_allowed": self.options.serving.allow_unsigned,
            "sample": set(self.plane.graphs) == {SAMPLE},
        }

    def reading(self, model: str, label_wait_s: float) -> Reading:
        """The counters of every arm that serves `model` now.

        Raises:
            NotFound: it is not served.
        """
        served = self.plane.served(model)
        return self.evidence.reading(
            model,
            revision=served.revision,
            arms=served.arms,
            trained=served.trained(),
            label_wait_s=label_wait_s,
            dropped=self.exposures.dropped + self.metrics.lost_total(),
        )

    def _revisions(self) -> list[tuple[str, list[tuple[tuple[str, ...], float]]]]:
        """What a source of evidence beside `/admin/evidence` must know: which version stands behind an arm, at which revision."""
        served: list[tuple[tuple[str, ...], float]] = [
            ((model, version, arm), float(graph.revision))
            for model, graph in list(self.plane.graphs.items())
            for arm, version in graph.arms
        ]
        return [("maestro_graph_revision", served)]

    def _on_loaded(self, model: str, revision: int) -> None:
        self.evidence.read(model)
        self.exposures.read(model, revision)

    def _on_served(self, served: ServedGraph) -> None:
        self.hasher.rotate_if_due()
        self.evidence.open(served.model, served.revision)
        self.exposures.open(served.model, served.revision)

    def observe(self, model: str, seen: Observation) -> None:
        """Record an arm's first attempt."""
        try:
            self.evidence.observe(model, seen)
            self.exposures.observe(model, seen)
        except Exception:  # an answer is not withheld because it cannot be recorded; what is lost freezes the rollout
            log.exception("an attempt of %s could not be recorded", model)
            self.evidence.dropped += 1

    def watch(self, sample: Sample) -> None:
        """Have a sample of the traffic looked at for drift, and kept where that is asked for."""
        self.streams.offer(sample)
        self.payloads.offer(sample)

    def _out_of_range(self, model: str, feature: str, count: int) -> None:
        self.metrics.out_of_range(model, feature, count)
