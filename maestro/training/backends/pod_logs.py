"""The log of a pod, line by line from any offset, without reading from its beginning every time."""

from __future__ import annotations

from dataclasses import dataclass

from maestro.clients.kubernetes.objects import Cluster, Ref
from maestro.core.errors import BadInput, NotFound, Unreachable

_LIMIT_BYTES = 1 << 20


@dataclass
class _Cursor:
    """How far a pod's log has been read: `lines` whole lines, the last of them written at `at`, `same` of them in that very instant."""

    pod: str
    lines: int = 0
    at: str = ""
    same: int = 0


class PodLogs:
    """An offset is a number of whole lines. The kubelet dates every line, so that only what came since is asked for.

    Lines that the kubelet has rotated away before they were read are lost; those read before are not affected.
    """

    def __init__(self, cluster: Cluster, namespace: str) -> None:
        self._cluster = cluster
        self._namespace = namespace
        self._cursors: dict[str, _Cursor] = {}

    def read(self, handle: str, pod: str, offset: int, *, ended: bool) -> tuple[list[str], int]:
        """Whole lines of a pod from `offset` on, and the offset to go on from."""
        cursor = self._cursors.get(handle)
        if cursor is None or cursor.pod != pod or cursor.lines != offset:
            cursor = _Cursor(pod)  # somebody else read the lines before: skip them by number
        self._cursors[handle] = cursor
        lines: list[str] = []
        while True:
            skip = max(0, offset - cursor.lines)
            fresh = self._since(cursor, ended=ended, limit=_LIMIT_BYTES)
            if fresh is None:  # more in one second than is read at once
                fresh = self._since(cursor, ended=ended, limit=None) or []
            for at, _ in fresh:
                cursor.same = cursor.same + 1 if at == cursor.at else 1
                cursor.at = at
            cursor.lines += len(fresh)
            lines += [text for _, text in fresh[skip:]]
            if not fresh or cursor.lines >= offset:
                return lines, max(offset, cursor.lines)

    def forget(self, handle: str) -> None:
        """Drop what is known of a log."""
        self._cursors.pop(handle, None)

    def _since(self, cursor: _Cursor, *, ended: bool, limit: int | None) -> list[tuple[str, str]] | None:
        """Dated lines after the cursor; None when all that fitted within `limit` were known."""
        ref = Ref("v1", "Pod", cursor.pod, self._namespace)
        try:
            text = self._cluster.connection.request(
                "GET",
                self._cluster.path(ref, "log"),
                what=f"read the log of {ref}",
                query={
                    "timestamps": True,
                    # the API counts in seconds: lines of the same second come again, and are left out below
                    "sinceTime": f"{cursor.at[:19]}Z" if cursor.at else None,
                    "limitBytes": limit,
                },
            )
        except (NotFound, BadInput, Unreachable):
            return []  # the pod is gone, has not started, or its node does not answer: the next call tries again
        data = str(text)
        cut = limit is not None and len(data.encode()) >= limit
        whole = data if ended and not cut else data[: data.rfind("\n") + 1]
        found: list[tuple[str, str]] = []
        repeated = cursor.same
        for line in whole.splitlines():
            at, _, message = line.partition(" ")
            if at < cursor.at:
                continue
            if at == cursor.at and repeated:
                repeated -= 1
                continue
            found.append((at, message))
        return None if cut and not found else found
