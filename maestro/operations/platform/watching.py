"""How the platform is: every object that is ours with its state, and what pods say when they do not start."""

from __future__ import annotations

from dataclasses import dataclass

from maestro.clients.kubernetes import Cluster
from maestro.operations.platform.inventory import read_inventory
from maestro.operations.platform.objects import Body, shown
from maestro.operations.platform.readiness import readiness
from maestro.operations.platform.reading import find, listed

WATCHED = (
    "Deployment",
    "StatefulSet",
    "DaemonSet",
    "Job",
    "CustomResourceDefinition",
    "APIService",
    "PersistentVolumeClaim",
)


@dataclass(frozen=True)
class State:
    """One object."""

    object: str
    ready: bool
    why: str = ""


def states(cluster: Cluster) -> list[State]:
    """The state of everything that has one; empty when nothing was applied."""
    found = []
    for identity in sorted(read_inventory(cluster)):
        api_version, kind, namespace, name = identity.split("|")
        if kind not in WATCHED:
            continue
        body = find(cluster, api_version, kind, name, namespace)
        if body is None:
            found.append(State(shown(identity), False, "it is not there: run apply again"))
            continue
        state = readiness(body)
        why = state.why
        if not state.ready and kind in {"Deployment", "StatefulSet", "DaemonSet"}:
            why = "; ".join([why, *pod_troubles(cluster, body)])
        found.append(State(shown(identity), state.ready, why))
    return found


def pod_troubles(cluster: Cluster, workload: Body) -> list[str]:
    """Why the pods of a workload do not run: what scheduler, volumes and containers say; at most three lines."""
    labels = ",".join(f"{key}={value}" for key, value in workload["spec"]["selector"].get("matchLabels", {}).items())
    troubles: list[str] = []
    for pod in listed(cluster, "v1", "Pod", workload["metadata"]["namespace"], labels):
        status, name = pod.get("status") or {}, pod["metadata"]["name"]
        troubles += [
            f"{name}: {condition.get('message', 'not scheduled')}"
            for condition in status.get("conditions") or []
            if condition["type"] == "PodScheduled" and condition["status"] == "False"
        ]
        for one in [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]:
            waiting = (one.get("state") or {}).get("waiting") or {}
            if waiting.get("reason") not in {None, "PodInitializing", "ContainerCreating"}:
                troubles.append(f"{name}/{one['name']}: {waiting['reason']} {waiting.get('message', '')}".strip())
    return troubles[:3]
