"""Prometheus as the source of a rollout's evidence: the raw counters of every replica of a model, never rates and never `increase()`.

`increase()` extrapolates between scrapes and is no integer. Here the newest raw sample of each series is taken, and the sums are of integers. Replicas
restart one by one: when a series fell or vanished, a new epoch begins whose counts are what was counted since the reading before, so that nothing
is counted twice; what a replica counted between its last scrape and its end is in neither. Units (entities, labels of distinct entities) cannot be told apart by
counters: they stay zero, and a policy that judges quality needs the server's own source.
"""

from __future__ import annotations

import threading
import uuid
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import UTC, datetime

from maestro.clients.prometheus import PrometheusClient, RawSeries
from maestro.core.clock import Clock, SystemClock
from maestro.core.errors import NotFound, Unreachable
from maestro.core.seams import ArmReading, Reading

MAX_AGE_S = 60.0
"""A sample older than this is of a server that is no longer scraped."""

_REVISION = "maestro_graph_revision"
_REQUESTS = "maestro_inference_requests_total"
_BUCKETS = "maestro_inference_latency_seconds_bucket"
_DROPPED = "maestro_exposures_dropped_total"

_Key = tuple[str, tuple[tuple[str, str], ...]]


@dataclass
class _Epoch:
    """Since when is counted: what each series stood at when the epoch began, and at the last look."""

    name: str = field(default_factory=lambda: uuid.uuid4().hex)
    base: dict[_Key, int] = field(default_factory=dict)
    last: dict[_Key, int] = field(default_factory=dict)

    def take(self, now: dict[_Key, int]) -> _Epoch:
        """This epoch with another look, or a new one when a series fell or vanished."""
        if all(now.get(key, -1) >= count for key, count in self.last.items()):
            self.last = now
            return self
        base = {key: count for key, count in self.last.items() if now.get(key, -1) >= count}
        return _Epoch(base=base, last=now)

    def counted(self, key: _Key) -> int:
        """What a series counted in this epoch."""
        return self.last[key] - self.base.get(key, 0)


class PrometheusMetricSource:
    """Implements `maestro.core.seams.MetricSource`. Thread-safe.

    Args:
        client: the server.
        matchers: further label matchers that every series has to meet, such as `namespace="ml-serving"`.
        max_age_s: a newest sample older than this is refused.
    """

    def __init__(
        self, client: PrometheusClient, matchers: str = "", *, clock: Clock | None = None, max_age_s: float = MAX_AGE_S
    ) -> None:
        self._client = client
        self._matchers = matchers
        self._clock = clock or SystemClock()
        self._max_age_s = max_age_s
        self._epochs: dict[str, _Epoch] = {}
        self._lock = threading.Lock()

    def read(self, model: str, label_wait_s: float) -> Reading:
        """The counters of every arm that serves `model` now; `label_wait_s` is of no use here, since units are not counted.

        Raises:
            Unreachable: no answer, none that is fresh, or replicas at different revisions.
            NotFound: no server that is scraped serves the model.
        """
        with self._lock:
            shown = _present(self._newest(_REVISION, model))
            if not shown:
                raise NotFound(
                    f"Prometheus knows no server of {model!r}", field="model", remedy="see that the servers are scraped"
                )
            at = min(series.at for series in shown)
            age = self._clock.now().timestamp() - at
            if abs(age) > self._max_age_s:
                raise Unreachable(
                    f"the newest scrape of a server of {model!r} is {age:.0f} s old",
                    remedy="see Prometheus's targets",
                    component="prometheus",
                )
            revisions = {int(series.value) for series in shown}
            if len(revisions) > 1:
                raise Unreachable(
                    f"the servers of {model!r} are at revisions {sorted(revisions)}",
                    remedy="wait until all of them have taken the graph",
                    component="model server",
                )
            requests, buckets = self._newest(_REQUESTS, model), self._newest(_BUCKETS, model)
            dropped = self._client.newest(self._selector(_DROPPED), int(self._max_age_s))
            now = {_key(series): int(series.value) for series in (*requests, *buckets, *dropped)}
            epoch = self._epochs[model] = self._epochs.get(model, _Epoch()).take(now)
            # a server that falls back to another shows that one's arm as well, and knows no version of it
            known = sorted(shown, key=lambda series: series.label("version") != "remote")
            arms = {series.label("arm"): series.label("version") for series in known}
            return Reading(
                at=datetime.fromtimestamp(at, UTC),
                epoch=epoch.name,
                revision=revisions.pop(),
                arms={arm: _arm(epoch, arm, version, requests, buckets) for arm, version in arms.items()},
                dropped=sum(epoch.counted(_key(series)) for series in dropped),
            )

    def _newest(self, name: str, model: str) -> list[RawSeries]:
        return self._client.newest(self._selector(name, f'model="{model}"'), int(self._max_age_s))

    def _selector(self, name: str, *own: str) -> str:
        return f"{name}{{{','.join(filter(None, (*own, self._matchers)))}}}"


def _present(shown: list[RawSeries]) -> list[RawSeries]:
    """Of each replica what its newest scrape showed: an arm that it no longer has stays in Prometheus for a while."""
    newest: dict[str, float] = {}
    for series in shown:
        newest[series.label("instance")] = max(series.at, newest.get(series.label("instance"), 0.0))
    return [series for series in shown if series.at == newest[series.label("instance")]]


def _key(series: RawSeries) -> _Key:
    return series.name, series.labels


def _arm(epoch: _Epoch, arm: str, version: str, requests: list[RawSeries], buckets: list[RawSeries]) -> ArmReading:
    outcomes: dict[str, int] = defaultdict(int)
    latency: dict[str, int] = defaultdict(int)
    for into, label, found in ((outcomes, "outcome", requests), (latency, "le", buckets)):
        for series in found:
            if (series.label("arm"), series.label("version")) == (arm, version):
                into[series.label(label)] += epoch.counted(_key(series))
    bounds = sorted(latency, key=float)
    return ArmReading(version=version, requests=dict(outcomes), latency={bound: latency[bound] for bound in bounds})
