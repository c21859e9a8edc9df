"""Leadership through the real API server: one leads, a killed holder is followed, a former one is told."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from threading import Event

import pytest

from maestro.clients.kubernetes.connection import Connection
from maestro.clients.kubernetes.lease import KubernetesLease
from maestro.clients.kubernetes.objects import Cluster, Ref
from maestro.core.errors import Fenced

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(120)]

_HOLD = """
import sys, time
from threading import Event
from maestro.clients.kubernetes.connection import Connection
from maestro.clients.kubernetes.lease import KubernetesLease
from maestro.clients.kubernetes.objects import Cluster
lease = KubernetesLease(Cluster(Connection.load()), sys.argv[1], "rollouts", sys.argv[2], duration_s=2)
lease.lead(Event(), lambda fence, lost: (print(fence, flush=True), lost.wait()))
"""


def candidate(namespace: str, holder: str, duration_s: int = 2) -> KubernetesLease:
    return KubernetesLease(Cluster(Connection.load()), namespace, "rollouts", holder, duration_s=duration_s)


def test_one_of_many_has_it(namespace: str) -> None:
    won: list[int | None] = []
    candidates = [candidate(namespace, f"c{index}") for index in range(6)]
    threads = [threading.Thread(target=lambda one=one: won.append(one.acquire())) for one in candidates]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(won, key=str) == [1, None, None, None, None, None]


def test_a_killed_holder_is_followed_and_numbers_grow(namespace: str, cluster: Cluster) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", _HOLD, namespace, "first"], stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    assert holder.stdout.readline().strip() == "1"
    second = candidate(namespace, "second")
    deadline = time.monotonic() + 4
    while time.monotonic() < deadline:
        assert second.acquire() is None, "taken from a holder that renews"
        time.sleep(0.2)
    holder.kill()
    holder.wait()
    holder.stdout.close()
    killed = time.monotonic()
    while (fence := second.acquire()) is None:
        assert time.monotonic() < killed + 10
        time.sleep(0.1)
    assert fence == 2
    assert time.monotonic() - killed >= 1.0
    shown = cluster.get(Ref("coordination.k8s.io/v1", "Lease", "rollouts", namespace))
    assert (shown["spec"]["holderIdentity"], shown["spec"]["leaseTransitions"]) == ("second", 2)


def test_a_former_holder_is_told_and_its_namesake_too(namespace: str) -> None:
    first = candidate(namespace, "pod")
    old = first.acquire()
    assert old is not None
    again = candidate(namespace, "pod")  # restarted under its name
    new = again.acquire()
    assert new == old + 1
    with pytest.raises(Fenced, match="no longer ours"):
        first.renew(old)
    first.release(old)
    again.renew(new)


def test_what_is_given_back_need_not_be_waited_for(namespace: str) -> None:
    first, second = candidate(namespace, "first", 60), candidate(namespace, "second", 60)
    fence = first.acquire()
    assert fence is not None
    assert second.acquire() is None
    first.release(fence)
    assert second.acquire() == fence + 1


def test_work_is_told_when_leadership_is_lost(namespace: str, cluster: Cluster) -> None:
    stop, told = Event(), Event()
    lease = candidate(namespace, "first")

    def work(fence: int, lost: Event) -> None:
        lost.wait(20)
        told.set()
        stop.set()

    thread = threading.Thread(target=lease.lead, args=(stop, work))
    thread.start()
    ref = Ref("coordination.k8s.io/v1", "Lease", "rollouts", namespace)
    deadline = time.monotonic() + 10
    while cluster.find(ref) is None:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    cluster.patch(ref, {"spec": {"holderIdentity": "usurper", "leaseTransitions": 9}})
    assert told.wait(10)
    thread.join(10)
    assert not thread.is_alive()
