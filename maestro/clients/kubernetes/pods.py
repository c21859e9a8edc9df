"""Why pods do not run, or did not end well, in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

_WAITING = {
    "ImagePullBackOff": "its image cannot be pulled",
    "ErrImagePull": "its image cannot be pulled",
    "ErrImageNeverPull": "its image is not on the node and may not be pulled",
    "InvalidImageName": "its image's name is not valid",
    "CreateContainerConfigError": "its container cannot be made",
    "CreateContainerError": "its container cannot be made",
    "RunContainerError": "its container cannot be started",
    "CrashLoopBackOff": "its container keeps ending",
}
HOPELESS = frozenset(_WAITING)
"""What does not pass by waiting for other work to end."""


def waiting(pod: Mapping[str, Any]) -> tuple[str, str] | None:
    """Why a pod is not running yet: the API's word, and a sentence; None when nothing is wrong."""
    status = pod.get("status") or {}
    for container in [*status.get("initContainerStatuses", []), *status.get("containerStatuses", [])]:
        held = (container.get("state") or {}).get("waiting") or {}
        word = str(held.get("reason", ""))
        if word in _WAITING:
            said = f": {held['message']}" if held.get("message") else ""
            return word, f"{_WAITING[word]} ({container.get('image', '')}, {word}{said})"
    for condition in status.get("conditions", []):
        if condition["type"] == "PodScheduled" and condition["status"] == "False":
            return str(condition.get("reason", "")), f"no node takes it ({condition.get('message', 'unschedulable')})"
    return None


def ended(pod: Mapping[str, Any], rank: int) -> tuple[int | None, str] | None:
    """Exit status and reason of a pod that failed; None when it did not."""
    status = pod.get("status") or {}
    if status.get("phase") != "Failed":
        return None
    who = f"worker {rank}" if rank >= 0 else f"pod {pod['metadata']['name']}"
    for container in status.get("containerStatuses", []):
        over = (container.get("state") or {}).get("terminated") or (container.get("lastState") or {}).get("terminated")
        if not over:
            continue
        code = int(over.get("exitCode", 0))
        if over.get("reason") == "OOMKilled":
            held = _memory(pod)
            return code, f"{who} was ended for using more than its {held} of memory (OOMKilled); ask for more"
        if code:
            return code, _in_words(who, code)
    reason = str(status.get("reason") or "")
    if reason == "Evicted":
        return None, f"{who} was evicted: {status.get('message', '')}"
    if reason == "DeadlineExceeded":
        return None, f"{who} was stopped at its time limit"
    return None, f"{who} failed ({reason or 'no reason given'}) {status.get('message', '')}".rstrip()


def first_waiting(pods: Sequence[Mapping[str, Any]]) -> tuple[str, str] | None:
    """The first pod's reason not to run; a hopeless one goes before others."""
    found = []
    for pod in pods:
        why = waiting(pod)
        if why is not None:
            found.append((why[0], f"pod {pod['metadata']['name']}: {why[1]}"))
    return next((why for why in found if why[0] in HOPELESS), found[0] if found else None)


def _in_words(who: str, code: int) -> str:
    import signal

    if code > 128:
        try:
            return f"{who} was ended by {signal.Signals(code - 128).name}"
        except ValueError:
            pass
    return f"{who} ended with exit status {code}"


def _memory(pod: Mapping[str, Any]) -> str:
    containers = (pod.get("spec") or {}).get("containers") or [{}]
    return str(((containers[0].get("resources") or {}).get("limits") or {}).get("memory", "limit"))
