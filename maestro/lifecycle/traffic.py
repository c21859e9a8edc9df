"""Which target moves a model's traffic: the graph file of this machine's server, or a cluster."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from maestro.clients.home import Home
from maestro.core.clock import Clock
from maestro.core.errors import BadInput, Fenced, MaestroError
from maestro.core.seams import MetricSource, TrafficTarget
from maestro.core.settings import Settings

if TYPE_CHECKING:
    from maestro.clients.kubernetes.lease import KubernetesLease

TARGETS = ("laptop", "kubernetes")


@dataclass(frozen=True)
class Traffic:
    """How traffic is moved: the target of each model, the models that have a graph, a step that carries foreign edits out, and what its evidence needs."""

    name: Literal["laptop", "kubernetes"]
    target: Callable[[str], TrafficTarget]
    models: Callable[[], Sequence[str]]
    converge: Callable[[], object] | None = None
    evidence: Callable[[MetricSource], MetricSource] = lambda source: source


def traffic(
    options: Settings, home: Home, clock: Clock, *, server: str, token: str, target: str | None = None
) -> Traffic:
    """As `target` or else the settings say.

    Raises:
        BadInput: there is no such target; the known ones are listed.
    """
    wanted = target or options.target
    trust = options.trust_policy
    if wanted == "laptop":
        return _on_this_machine(options, home, clock, server, token, trust)
    if wanted == "kubernetes":
        return _in_cluster(options, home, clock, token, trust)
    raise BadInput(f"there is no target {wanted!r}", field="target", remedy=f"choose one of {', '.join(TARGETS)}")


def _on_this_machine(
    options: Settings, home: Home, clock: Clock, server: str, token: str, trust: Path | None
) -> Traffic:
    from maestro.serving.target import GraphFileTarget

    target = partial(
        GraphFileTarget,
        home,
        server_url=server,
        token=token,
        clock=clock,
        trust_path=trust,
        allow_unsigned=options.serving.allow_unsigned,
    )
    return Traffic("laptop", target, lambda: sorted(path.stem for path in home.graphs.glob("*.yaml")))


def _in_cluster(options: Settings, home: Home, clock: Clock, token: str, trust: Path | None) -> Traffic:
    from maestro.clients.kubernetes.connection import Connection
    from maestro.clients.kubernetes.lease import KubernetesLease
    from maestro.clients.kubernetes.objects import Cluster
    from maestro.serving.targets import KubernetesTarget, VerifierMap, kubernetes_target, served_models

    where = options.cluster
    connection = Connection.load(
        where.kubeconfig, where.context, clock=clock, timeout_s=where.timeout_s, patience_s=where.patience_s
    )
    cluster = Cluster(connection, clock)

    def target(model: str) -> KubernetesTarget:
        return kubernetes_target(
            cluster, where.serving, home, model, token, trust_path=trust, allow_unsigned=options.serving.allow_unsigned
        )

    def models() -> Sequence[str]:
        return served_models(cluster, where.serving)

    verifiers = VerifierMap(cluster, where.serving.namespace, home.server_keys)
    leading = _Leading(KubernetesLease(cluster, where.serving.namespace, "maestro-traffic", _name()), clock)

    def converge() -> None:
        if not leading.now():
            return
        problem: MaestroError | None = None
        try:
            verifiers.publish()
        except MaestroError as error:
            problem = error
        for model in models():
            try:
                target(model).converge()
            except MaestroError as error:
                problem = error
        if problem is not None:
            raise problem

    if where.serving.traffic == "router":
        return Traffic("kubernetes", target, models, converge)
    from maestro.serving.targets.slot_readings import SlotReadings

    return Traffic("kubernetes", target, models, converge, lambda source: SlotReadings(source, target))


class _Leading:
    """Whether this process carries foreign edits out: of several control planes one does. Each of its writes is a compare-and-swap all the same."""

    def __init__(self, lease: KubernetesLease, clock: Clock) -> None:
        self._lease = lease
        self._clock = clock
        self._held: tuple[int, float] | None = None

    def now(self) -> bool:
        """Take the lease, or renew it when a third of its time is over."""
        moment = self._clock.monotonic()
        if self._held is None:
            fence = self._lease.acquire()
            self._held = None if fence is None else (fence, moment)
        elif moment - self._held[1] > self._lease.duration_s / 3:
            fence, self._held = self._held[0], None
            try:
                self._lease.renew(fence)
            except Fenced:
                return False
            self._held = (fence, moment)
        return self._held is not None


def _name() -> str:
    return f"{socket.gethostname()}-{os.getpid()}"
