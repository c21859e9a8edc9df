"""Objects of one cluster as plain documents: read, written by compare-and-swap, applied, deleted, watched."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Lock
from typing import Any, Literal

from maestro.clients.kubernetes.connection import Connection, wait_until
from maestro.core.clock import Clock, SystemClock
from maestro.core.errors import BadInput, Conflict, NotFound, Unreachable

Document = dict[str, Any]
Patch = Literal["merge", "json", "strategic"]

FIELD_MANAGER = "maestro"

_STRICT: dict[str, str | int | bool | None] = {"fieldValidation": "Strict"}
"""A field that the API does not know is an error, not left out in silence."""

_PATCHES = {
    "merge": "application/merge-patch+json",
    "json": "application/json-patch+json",
    "strategic": "application/strategic-merge-patch+json",
}


@dataclass(frozen=True)
class Ref:
    """An object by kind and name; `namespace` is empty for what belongs to the cluster."""

    api_version: str
    kind: str
    name: str
    namespace: str = ""

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> Ref:
        """What a document is."""
        metadata = document.get("metadata") or {}
        return cls(
            str(document.get("apiVersion", "")),
            str(document.get("kind", "")),
            str(metadata.get("name", "")),
            str(metadata.get("namespace", "")),
        )

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name}" if self.namespace else f"{self.kind} {self.name}"


class Cluster:
    """Objects of one API server. Thread-safe; keeps nothing but which kinds there are.

    Args:
        connection: to the API server.
    """

    def __init__(self, connection: Connection, clock: Clock | None = None) -> None:
        self.connection = connection
        self.clock = clock or SystemClock()
        self._kinds: dict[str, dict[str, tuple[str, bool]]] = {}
        self._lock = Lock()

    def kinds(self, api_version: str, *, fresh: bool = False) -> dict[str, tuple[str, bool]]:
        """The kinds of a group and version: kind to (plural, whether it lives in a namespace); empty when it is not served."""
        with self._lock:
            known = self._kinds.get(api_version)
        if known and not fresh:
            return known
        base = "/api/v1" if api_version == "v1" else f"/apis/{api_version}"
        try:
            listed = self.connection.request("GET", base, what=f"list the kinds of {api_version}")
        except NotFound:
            return {}
        found = {
            item["kind"]: (item["name"], bool(item["namespaced"]))
            for item in listed["resources"]
            if "/" not in item["name"]
        }
        with self._lock:
            self._kinds[api_version] = found
        return found

    def path(self, ref: Ref, subresource: str = "") -> str:
        """Where an object is, or without a name its collection.

        Raises:
            NotFound: the cluster has no such kind.
        """
        kinds = self.kinds(ref.api_version)
        if ref.kind not in kinds:
            kinds = self.kinds(ref.api_version, fresh=True)  # a definition may have come since
        if ref.kind not in kinds:
            raise NotFound(
                f"the cluster has no kind {ref.kind} in {ref.api_version}",
                field="kind",
                remedy="install its CustomResourceDefinition",
                reason="NoKind",
            )
        plural, namespaced = kinds[ref.kind]
        base = "/api/v1" if ref.api_version == "v1" else f"/apis/{ref.api_version}"
        inside = f"/namespaces/{ref.namespace}" if namespaced and ref.namespace else ""
        parts = [base + inside, plural, ref.name, subresource]
        return "/".join(part for part in parts if part)

    def get(self, ref: Ref) -> Document:
        """The object.

        Raises:
            NotFound: there is none.
        """
        document: Document = self.connection.request("GET", self.path(ref), what=f"read {ref}")
        return document

    def find(self, ref: Ref) -> Document | None:
        """The object, or None; a kind that the cluster does not know is an error all the same."""
        path = self.path(ref)
        try:
            document: Document = self.connection.request("GET", path, what=f"read {ref}")
        except NotFound:
            return None
        return document

    def list(
        self,
        api_version: str,
        kind: str,
        namespace: str = "",
        *,
        labels: Mapping[str, str] | str | None = None,
        fields: str | None = None,
    ) -> list[Document]:
        """The objects of a kind, page by page."""
        path = self.path(Ref(api_version, kind, "", namespace))
        query: dict[str, str | int | bool | None] = {
            "labelSelector": selector(labels),
            "fieldSelector": fields,
            "limit": 500,
        }
        found: list[Document] = []
        while True:
            page = self.connection.request("GET", path, what=_listing(kind, namespace), query=query)
            # items of a list carry neither
            found += [{"apiVersion": api_version, "kind": kind} | item for item in page["items"]]
            going_on = page["metadata"].get("continue")
            if not going_on:
                return found
            query["continue"] = going_on

    def create(self, document: Document, *, dry_run: bool = False) -> Document:
        """Create it.

        Raises:
            Conflict: there is one of this name (`reason` is `AlreadyExists`).
        """
        ref = Ref.of(document)
        path = self.path(Ref(ref.api_version, ref.kind, "", ref.namespace))
        created: Document = self.connection.request(
            "POST", path, what=f"create {ref}", body=document, query=_written(dry_run) | _STRICT
        )
        return created

    def replace(self, document: Document, *, status: bool = False) -> Document:
        """Write the whole object, on the `resourceVersion` that it carries.

        Raises:
            Conflict: somebody wrote first.
        """
        ref = Ref.of(document)
        if not document["metadata"].get("resourceVersion"):
            raise BadInput(f"{ref} has no resourceVersion", field="metadata.resourceVersion", remedy="read it first")
        path = self.path(ref, "status" if status else "")
        written: Document = self.connection.request(
            "PUT", path, what=f"replace {ref}", body=document, query=_written(False)
        )
        return written

    def patch(self, ref: Ref, change: Any, *, kind: Patch = "merge", subresource: str = "") -> Document:
        """Change part of it. A merge that carries `metadata.resourceVersion` is a compare-and-swap.

        Raises:
            Conflict: somebody wrote first, or a test of a JSON patch does not hold.
        """
        written: Document = self.connection.request(
            "PATCH",
            self.path(ref, subresource),
            what=f"change {ref}",
            body=change,
            content_type=_PATCHES[kind],
            query=_written(False),
        )
        return written

    def apply(
        self, document: Document, *, manager: str = FIELD_MANAGER, force: bool = False, dry_run: bool = False
    ) -> Document:
        """Server-side apply; repeating it changes nothing.

        Raises:
            Conflict: another manager owns a field, and `force` is not given.
        """
        ref = Ref.of(document)
        applied: Document = self.connection.request(
            "PATCH",
            self.path(ref),
            what=f"apply {ref}",
            body=document,
            content_type="application/apply-patch+yaml",
            query={"fieldManager": manager, "force": force, "dryRun": "All" if dry_run else None, **_STRICT},
            repeatable=True,
        )
        return applied

    def delete(
        self,
        ref: Ref,
        *,
        uid: str | None = None,
        propagation: Literal["Foreground", "Background", "Orphan"] = "Background",
        grace_s: int | None = None,
    ) -> bool:
        """Ask for it to be deleted; whether there was one.

        Args:
            ref: the object.
            uid: delete only this very object, not one that has taken its name since.
            propagation: what becomes of what it owns.
            grace_s: seconds that its pods get to end.
        """
        options: Document = {"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": propagation}
        if uid is not None:
            options["preconditions"] = {"uid": uid}
        if grace_s is not None:
            options["gracePeriodSeconds"] = grace_s
        path = self.path(ref)
        try:
            self.connection.request("DELETE", path, what=f"delete {ref}", body=options, repeatable=True)
        except NotFound:
            return False
        except Conflict:
            if uid is None:
                raise
            return False  # another object has taken its name
        return True

    def wait_gone(self, ref: Ref, timeout_s: float, *, uid: str | None = None) -> None:
        """Return when it is gone, or another has taken its name.

        Raises:
            Unreachable: it is still there; the finalizers that hold it are named.
        """
        deadline = self.clock.monotonic() + timeout_s
        while True:
            found = self.find(ref)
            if found is None or (uid is not None and found["metadata"]["uid"] != uid):
                return
            if not wait_until(self.clock, deadline):
                held = ", ".join(found["metadata"].get("finalizers") or []) or "none"
                raise Unreachable(
                    f"{ref} is still there after {timeout_s:g} s (finalizers: {held})",
                    remedy="see what holds it: kubectl describe",
                    component="kubernetes",
                )

    @contextmanager
    def watch(
        self,
        api_version: str,
        kind: str,
        namespace: str = "",
        *,
        labels: Mapping[str, str] | str | None = None,
        fields: str | None = None,
        since: str | None = None,
        seconds: int = 300,
    ) -> Iterator[Iterator[tuple[str, Document]]]:
        """Changes as they happen: (ADDED, MODIFIED, DELETED or BOOKMARK, the object); ends after `seconds`.

        Raises:
            Conflict: `since` is too old; list again.
        """
        path = self.path(Ref(api_version, kind, "", namespace))
        query: dict[str, str | int | bool | None] = {
            "watch": True,
            "labelSelector": selector(labels),
            "fieldSelector": fields,
            "resourceVersion": since,
            "allowWatchBookmarks": True,
            "timeoutSeconds": seconds,
        }
        with self.connection.stream(
            path, what=f"watch {_listing(kind, namespace)[5:]}", query=query, timeout_s=seconds + 15
        ) as lines:
            yield _changes(lines, kind)


def _changes(lines: Iterator[bytes], kind: str) -> Iterator[tuple[str, Document]]:
    for line in lines:
        change = json.loads(line)
        if change["type"] == "ERROR":
            raise Conflict(
                f"the watch of {kind} ended: {change['object'].get('message', '')}",
                remedy="list again",
                reason=str(change["object"].get("reason", "")),
            )
        yield change["type"], change["object"]


def selector(labels: Mapping[str, str] | str | None) -> str | None:
    """A label selector as the API wants it.

    >>> selector({"a": "b", "c": "d"})
    'a=b,c=d'
    """
    if labels is None or isinstance(labels, str):
        return labels
    return ",".join(f"{name}={value}" for name, value in sorted(labels.items()))


def _listing(kind: str, namespace: str) -> str:
    return f"list {kind} objects" + (f" of {namespace}" if namespace else "")


def _written(dry_run: bool) -> dict[str, str | int | bool | None]:
    return {"fieldManager": FIELD_MANAGER, "dryRun": "All" if dry_run else None}
