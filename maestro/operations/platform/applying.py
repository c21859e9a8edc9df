"""Plan, apply and remove: server-side apply with our field manager, stage by stage, each ready before the next begins.

Running it again after it was stopped at any point goes on: what stands is found unchanged, what is missing is applied.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from maestro.clients.kubernetes import Cluster, Ref
from maestro.core.errors import Conflict, MaestroError, NotFound, Unreachable
from maestro.operations.platform.inventory import NAMESPACE, read_inventory, write_inventory
from maestro.operations.platform.objects import KEPT, STAGES, Body, key, shown, stage
from maestro.operations.platform.readiness import readiness
from maestro.operations.platform.reading import FIELD_MANAGER, find

Action = Literal["create", "change", "unchanged", "delete", "keep"]
POLL_S = 0.5


@dataclass(frozen=True)
class Change:
    """What happens, or happened, to one object."""

    object: str
    action: Action
    stage: str = ""


class Watcher(Protocol):
    """Told of every step. Called from one thread; must not raise."""

    def on_stage(self, name: str, objects: int) -> None:
        """A stage begins."""

    def on_change(self, change: Change) -> None:
        """An object was applied or deleted."""

    def on_waiting(self, waiting: dict[str, str]) -> None:
        """These objects are not ready, and why; empty when all are."""


def plan(cluster: Cluster, bodies: Sequence[Body], *, take_over: bool = False) -> list[Change]:
    """What `apply` would do, as the server sees it; nothing is changed.

    An object whose kind or namespace does not exist yet counts as created.
    """
    owned = read_inventory(cluster)
    changes = [Change(key(body), _would(cluster, body, take_over), stage(body)) for body in bodies]
    return changes + [Change(one, "delete") for one in _orphans(owned, bodies)]


def _would(cluster: Cluster, body: Body, take_over: bool) -> Action:
    before = _current(cluster, body)
    if before is None:
        return "create"
    after = cluster.apply(body, manager=FIELD_MANAGER, dry_run=True, force=take_over)
    return "unchanged" if _same(before, after) else "change"


def _current(cluster: Cluster, body: Body) -> Body | None:
    metadata = body["metadata"]
    return find(cluster, body["apiVersion"], body["kind"], metadata["name"], metadata.get("namespace", ""))


def _same(before: Body, after: Body) -> bool:
    return _substance(before) == _substance(after)


def _substance(body: Body) -> Body:
    metadata = {name: body["metadata"].get(name) for name in ("labels", "annotations", "ownerReferences", "finalizers")}
    rest = {name: value for name, value in body.items() if name not in {"metadata", "status"}}
    return rest | {"metadata": metadata}


def apply(
    cluster: Cluster, bodies: Sequence[Body], watcher: Watcher, *, wait_s: float = 600.0, take_over: bool = False,
    prune: bool = True, prepare: Callable[[], object] = lambda: None, clock: Callable[[], float] = time.monotonic, pause: Callable[[float], None] = time.sleep,
) -> list[Change]:  # fmt: skip
    """Make the cluster what the objects say.

    Args:
        cluster: where.
        bodies: the objects, by stage.
        watcher: told of every step.
        wait_s: how long each stage may take to become ready; 0 does not wait.
        take_over: take fields that another manager owns.
        prepare: called once the namespaces stand, before anything is put into them.
        prune: delete what an earlier apply made and the files no longer hold; data is kept.
        clock: seconds that only grow.
        pause: how to wait.

    Returns:
        Every object with what was done.

    Raises:
        MaestroError: the cluster refused one object; the error names it, what was applied before stays, `applied` counts it.
        Unreachable: a stage did not become ready in time; the objects and their reasons are named.
    """
    changes: list[Change] = []
    owned: set[str] | None = None
    for name in STAGES:
        members = [body for body in bodies if stage(body) == name]
        if not members:
            continue
        watcher.on_stage(name, len(members))
        if owned is None and name != "namespaces":
            prepare()
            owned = read_inventory(cluster)
            ours = any(key(body) == f"v1|Namespace||{NAMESPACE}" for body in bodies)
            if ours or find(cluster, "v1", "Namespace", NAMESPACE) is not None:
                write_inventory(cluster, owned | {key(body) for body in bodies})
        for body in members:
            try:
                before = _current(cluster, body)
                after = cluster.apply(body, manager=FIELD_MANAGER, force=take_over)
            except MaestroError as error:
                error.extra |= {"object": shown(key(body)), "applied": len(changes), "of": len(bodies)}
                if isinstance(error, Conflict) and "conflict" in error.detail:
                    error.remedy = "leave these fields to their owner, or run with --take-over"
                error.detail += f" ({len(changes)} of {len(bodies)} objects stand applied; nothing was undone)"
                raise
            action: Action = "create" if before is None else "unchanged" if _same(before, after) else "change"
            changes.append(Change(key(body), action, name))
            watcher.on_change(changes[-1])
        if wait_s:
            _wait(cluster, members, watcher, name, clock() + wait_s, clock, pause)
    if prune:
        changes += _prune(cluster, bodies, owned or set(), watcher)
    return changes


def _wait(
    cluster: Cluster, members: Sequence[Body], watcher: Watcher, name: str, deadline: float,
    clock: Callable[[], float], pause: Callable[[float], None],
) -> None:  # fmt: skip
    # an aggregated API answers when what it aggregates does, which may come later or from elsewhere
    left = [body for body in members if body["kind"] != "APIService"]
    while True:
        waiting: dict[str, str] = {}
        for body in left:
            state = readiness(_current(cluster, body) or body)
            if not state.ready:
                waiting[shown(key(body))] = state.why
        watcher.on_waiting(waiting)
        left = [body for body in left if shown(key(body)) in waiting]
        if not left:
            return
        if clock() >= deadline:
            told = "; ".join(f"{one}: {why}" for one, why in list(waiting.items())[:5])
            raise Unreachable(
                f"stage {name} did not become ready: {told}",
                remedy="`maestro platform status` shows more; run apply again, it goes on from here",
                component="kubernetes",
                waiting=waiting,
            )
        pause(POLL_S)


def _orphans(owned: set[str], bodies: Sequence[Body]) -> list[str]:
    wanted = {key(body) for body in bodies}
    # a kind's new API version is the same object
    same = {one.split("|", 1)[1] for one in wanted}
    return sorted(one for one in owned - wanted if one.split("|")[1] not in KEPT and one.split("|", 1)[1] not in same)


def _prune(cluster: Cluster, bodies: Sequence[Body], owned: set[str], watcher: Watcher) -> list[Change]:
    changes = []
    for one in _orphans(owned, bodies):
        if _delete(cluster, one):
            changes.append(Change(one, "delete"))
            watcher.on_change(changes[-1])
    if owned:
        kept = {one for one in owned if one.split("|")[1] in KEPT}
        write_inventory(cluster, kept | {key(body) for body in bodies})
    return changes


def _delete(cluster: Cluster, identity: str) -> bool:
    api_version, kind, namespace, name = identity.split("|")
    try:
        return cluster.delete(Ref(api_version, kind, name, namespace))
    except NotFound:
        return False


def remove(cluster: Cluster, watcher: Watcher, *, with_data: bool = False) -> list[Change]:
    """Delete what the inventory lists, last stage first. Volumes, namespaces, definitions and secrets stay unless `with_data`.

    Raises:
        NotFound: nothing of ours is there.
    """
    owned = read_inventory(cluster)
    if not owned:
        raise NotFound(
            "this cluster holds no platform that `maestro platform apply` made",
            remedy="what `kubectl apply -k` made, `kubectl delete -k` removes",
        )
    changes = []
    ordered = sorted(owned, key=lambda one: (-STAGES.index(stage({"kind": one.split("|")[1]})), one))
    for one in ordered:
        kept = one.split("|")[1] in KEPT and not with_data
        if kept:
            changes.append(Change(one, "keep"))
        elif _delete(cluster, one):
            changes.append(Change(one, "delete"))
        else:
            continue
        watcher.on_change(changes[-1])
    if not with_data:
        write_inventory(cluster, (change.object for change in changes if change.action == "keep"))
    return changes
