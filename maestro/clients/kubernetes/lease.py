"""Leadership by a Lease of coordination.k8s.io: one holder at a time, each with a number that grows.

A holder is taken for dead when its Lease has not changed for its duration on our own clock: clocks of different machines are never compared. The number
(`leaseTransitions`) grows with every taking, also when the same name takes it again, so that what a former holder still does can be told from what the
present one does.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import UTC
from threading import Event, Thread
from typing import Any

from maestro.clients.kubernetes.objects import Cluster, Ref
from maestro.core.errors import Conflict, Fenced, MaestroError

log = logging.getLogger(__name__)


class KubernetesLease:
    """One Lease, as one candidate sees it. Called from one thread at a time.

    Args:
        cluster: the API server.
        namespace: of the Lease.
        name: of the Lease.
        holder: this candidate, such as the pod's name.
        duration_s: a holder that has not renewed for this long has lost it.
    """

    def __init__(self, cluster: Cluster, namespace: str, name: str, holder: str, *, duration_s: int = 15) -> None:
        self._cluster = cluster
        self._ref = Ref("coordination.k8s.io/v1", "Lease", name, namespace)
        self.holder = holder
        self.duration_s = duration_s
        self._seen: tuple[str, float] | None = None

    def acquire(self) -> int | None:
        """Take the Lease when nobody has it; its number, or None while another holds it.

        Raises:
            MaestroError: the API server refuses or does not answer.
        """
        found = self._cluster.find(self._ref)
        now = self._cluster.clock.monotonic()
        if found is None:
            return self._create()
        version = str(found["metadata"]["resourceVersion"])
        if self._seen is None or self._seen[0] != version:
            self._seen = (version, now)
        spec = found.get("spec") or {}
        holder = spec.get("holderIdentity") or ""
        lasts = float(spec.get("leaseDurationSeconds") or self.duration_s)
        if holder and holder != self.holder and now - self._seen[1] < lasts:
            return None
        fence = int(spec.get("leaseTransitions") or 0) + 1
        return fence if self._write(found, self._spec(fence, taken=True)) else None

    def renew(self, fence: int) -> None:
        """Hold it for another duration.

        Raises:
            Fenced: another has it.
        """
        found = self._ours(fence)
        if not self._write(found, self._spec(fence) | {"acquireTime": found["spec"].get("acquireTime")}):
            self._ours(fence)  # whoever wrote in between may only have annotated it
            self.renew(fence)

    def release(self, fence: int) -> None:
        """Give it up, so that another need not wait; does nothing when another has it."""
        try:
            found = self._ours(fence)
        except Fenced:
            return
        self._write(found, {"holderIdentity": "", "leaseTransitions": fence, "leaseDurationSeconds": 1})

    def lead(self, stop: Event, work: Callable[[int, Event], None], *, retry_s: float = 2.0) -> None:
        """Be a candidate until `stop` is set; while leading, do `work(number, lost)`.

        `lost` is set when leadership is lost or `stop` is set: work has to return then, within the rest of the duration. It may return before, and leadership
        is given up.
        """
        while not stop.is_set():
            try:
                fence = self.acquire()
            except MaestroError as error:
                log.warning("%s cannot be taken: %s", self._ref, error.detail)
                fence = None
            if fence is None:
                stop.wait(retry_s)
                continue
            lost, done = Event(), Event()
            renewing = Thread(
                target=self._keep, args=(fence, stop, lost, done), name=f"lease-{self._ref.name}", daemon=True
            )
            renewing.start()
            try:
                work(fence, lost)
            finally:
                done.set()
                renewing.join(timeout=self.duration_s)
            if not lost.is_set() or stop.is_set():
                self._let_go(fence)

    def _keep(self, fence: int, stop: Event, lost: Event, done: Event) -> None:
        clock = self._cluster.clock
        renewed = clock.monotonic()
        while not done.wait(self.duration_s / 3):
            asked = clock.monotonic()
            try:
                self.renew(fence)
                renewed = asked
            except Fenced:
                lost.set()
                return
            except MaestroError as error:
                log.warning("%s cannot be renewed: %s", self._ref, error.detail)
                if clock.monotonic() - renewed > self.duration_s * 2 / 3:
                    lost.set()  # before another may take it
                    return
            if stop.is_set():
                lost.set()
                return

    def _let_go(self, fence: int) -> None:
        try:
            self.release(fence)
        except MaestroError as error:
            log.warning("%s is not given back, it ends by itself: %s", self._ref, error.detail)

    def _create(self) -> int | None:
        document = {
            "apiVersion": self._ref.api_version,
            "kind": self._ref.kind,
            "metadata": {"name": self._ref.name, "namespace": self._ref.namespace},
            "spec": self._spec(1, taken=True),
        }
        try:
            self._cluster.create(document)
        except Conflict:
            return None
        return 1

    def _ours(self, fence: int) -> dict[str, Any]:
        found = self._cluster.get(self._ref)
        spec = found.get("spec") or {}
        if spec.get("holderIdentity") != self.holder or int(spec.get("leaseTransitions") or 0) != fence:
            raise Fenced(
                f"{self._ref} number {fence} is no longer ours: {spec.get('holderIdentity') or 'nobody'} has number {spec.get('leaseTransitions')}",
                field="fence",
                remedy="stop: another leads",
            )
        return found

    def _spec(self, fence: int, *, taken: bool = False) -> dict[str, Any]:
        now = self._cluster.clock.now().astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        spec: dict[str, Any] = {
            "holderIdentity": self.holder,
            "leaseDurationSeconds": self.duration_s,
            "leaseTransitions": fence,
            "renewTime": now,
        }
        return spec | ({"acquireTime": now} if taken else {})

    def _write(self, found: dict[str, Any], spec: dict[str, Any]) -> bool:
        """Whether nobody wrote since it was read."""
        try:
            self._cluster.replace(found | {"spec": {key: value for key, value in spec.items() if value is not None}})
        except Conflict:
            return False
        return True
