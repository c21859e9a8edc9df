"""When an object has become what it should be, as its controller reports it."""

from __future__ import annotations

from typing import NamedTuple

from maestro.operations.platform.objects import Body


class Readiness(NamedTuple):
    """Whether an object is ready, and what it is waiting for."""

    ready: bool
    why: str = ""


READY = Readiness(True)


def readiness(body: Body) -> Readiness:
    """How far an object is; kinds that have no state are ready at once.

    >>> readiness({"kind": "Deployment", "metadata": {"generation": 2}, "spec": {"replicas": 2},
    ...     "status": {"observedGeneration": 2, "updatedReplicas": 2, "availableReplicas": 1}})
    Readiness(ready=False, why='1 of 2 available')
    """
    status = body.get("status") or {}
    match body["kind"]:
        case "Deployment":
            return _replicas(body, status.get("updatedReplicas", 0), status.get("availableReplicas", 0))
        case "StatefulSet":
            return _replicas(
                body, status.get("updatedReplicas", status.get("currentReplicas", 0)), status.get("readyReplicas", 0)
            )
        case "DaemonSet":
            wanted, ready = status.get("desiredNumberScheduled", 0), status.get("numberAvailable", 0)
            return READY if _observed(body) and ready >= wanted else Readiness(False, f"{ready} of {wanted} available")
        case "CustomResourceDefinition":
            return _condition(status, "Established", "not established")
        case "APIService":
            return _condition(status, "Available", "its service does not answer")
        case "Namespace":
            return READY if status.get("phase", "Active") == "Active" else Readiness(False, "it is being deleted")
        case "Job":
            failed = [
                entry
                for entry in status.get("conditions") or []
                if entry["type"] == "Failed" and entry["status"] == "True"
            ]
            return (
                Readiness(False, f"failed: {failed[0].get('message', '')}")
                if failed
                else _condition(status, "Complete", "running")
            )
        case _:
            return READY


def _observed(body: Body) -> bool:
    return int((body.get("status") or {}).get("observedGeneration", 0)) >= int(body["metadata"].get("generation", 0))


def _replicas(body: Body, updated: int, available: int) -> Readiness:
    wanted = int((body.get("spec") or {}).get("replicas", 1))
    if not _observed(body):
        return Readiness(False, "its controller has not seen it yet")
    if updated < wanted:
        return Readiness(False, f"{updated} of {wanted} updated")
    return READY if available >= wanted else Readiness(False, f"{available} of {wanted} available")


def _condition(status: Body, kind: str, waiting: str) -> Readiness:
    for entry in status.get("conditions") or []:
        if entry["type"] == kind:
            return READY if entry["status"] == "True" else Readiness(False, str(entry.get("message") or waiting))
    return Readiness(False, waiting)
