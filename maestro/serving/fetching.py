"""Versions that a graph names and the home lacks, brought from the control plane before the server starts.

Where they come from is trusted for nothing: the server takes every version through quarantine, digests and statements all the same.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from urllib.parse import quote

import httpx

from maestro.clients.bearer import bearer
from maestro.clients.home import Home
from maestro.core.errors import BadInput, NotFound, Unreachable
from maestro.core.graph import ModelNode
from maestro.serving.graph_file import parse_graph
from maestro.serving.unpacking import unpack

_RETRIES = 5
_SAID = 200


def wanted(home: Home) -> list[ModelNode]:
    """The versions that the home's graphs name and it does not hold with their promotion."""
    nodes = [
        node
        for path in sorted(home.graphs.glob("*.yaml"))
        for node in parse_graph(path.read_bytes(), path.name).models().values()
    ]
    return _lacking(home, nodes)


def fetch_versions(home: Home, nodes: Iterable[ModelNode], url: str, token: str) -> list[str]:
    """Bring those that the home lacks; gives what was brought, as `model@version`.

    Args:
        home: of the model server.
        nodes: the versions.
        url: of the control plane's API.
        token: a key of a viewer.

    Raises:
        BadInput: a version's name is no folder's, or the key cannot be said.
        Unreachable: the control plane does not answer, or has no such version.
        Malformed: what it sent is no version's archive.
        TooLarge: it is larger than `maestro.serving.unpacking.MAX_BYTES`.
        Untrusted: it is not the version that the graph pins.
    """
    brought: list[str] = []
    transport = httpx.HTTPTransport(retries=_RETRIES)
    with httpx.Client(base_url=url, headers=_headers(token), timeout=60, transport=transport) as client:
        for node in _lacking(home, nodes):
            with _alone(home.version(node.model, node.version).parent):
                if _lacking(home, [node]):  # nobody else has brought it meanwhile
                    _bring(client, home, node)
                    brought.append(f"{node.model}@{node.version}")
    return brought


def fetch_version(home: Home, name: str, url: str, token: str) -> None:
    """Bring one version that the home lacks, as the control plane has it; whoever uses it checks its statements, which say what it may be used for.

    Args:
        name: `MODEL@VERSION`.

    Raises:
        BadInput: the name has no version: shares of one job must not take different ones.
        NotFound: the control plane has no such version.
        Unreachable, Malformed, TooLarge, Untrusted: as in `fetch_versions`.
    """
    model, _, version = name.partition("@")
    if not _is_folder(model) or not _is_folder(version):
        raise BadInput(f"{name[:200]!r} names no version", field="model", remedy="give NAME@VERSION")
    headers = _headers(token)
    try:
        answer = httpx.get(
            f"{url}/versions/{quote(model, safe='')}/{quote(version, safe='')}", headers=headers, timeout=60
        )
        if answer.status_code == 404:
            raise NotFound(
                f"the control plane has no version {name[:200]}", field="model", remedy="see maestro versions list"
            )
        answer.raise_for_status()
        pinned = {"type": "model", "model": model, "version": version, "digest": answer.json()["digest"]}
        node = ModelNode.model_validate(pinned)
    except (httpx.HTTPError, httpx.InvalidURL, ValueError, KeyError, TypeError) as error:
        raise Unreachable(
            f"the control plane does not tell of {name[:200]}: {str(error) or type(error).__name__}",
            remedy="see maestro versions show, and the key that is given", component="api",
        ) from None  # fmt: skip
    fetch_versions(home, [node], url, token)


def _headers(token: str) -> dict[str, str]:
    try:
        return bearer(token)
    except ValueError as error:
        raise BadInput(f"the API key cannot be said: {error}", field="key", remedy="give the key alone") from None


def _is_folder(name: str) -> bool:
    return name not in ("", ".", "..") and "/" not in name and name.isprintable()


def _lacking(home: Home, nodes: Iterable[ModelNode]) -> list[ModelNode]:
    # a candidate's promotion comes later than its files
    needed = ("manifest.json", "statements/promotion.json")
    lacking = []
    for node in nodes:
        if not _is_folder(node.version):  # it would lie, and be replaced, elsewhere
            raise BadInput(
                f"{node.model}@{node.version[:200]!r} names no version", field="version", remedy="correct the graph"
            )
        if not all((home.version(node.model, node.version) / name).exists() for name in needed):
            lacking.append(node)
    return lacking


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """One process of this machine at a time brings versions of one model: shares of a job may begin together in one home."""
    folder.mkdir(parents=True, exist_ok=True)
    opened = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # a file system without locks
            fcntl.flock(opened, fcntl.LOCK_EX)
        yield
    finally:
        os.close(opened)


def _bring(client: httpx.Client, home: Home, node: ModelNode) -> None:
    name = f"{node.model}@{node.version}"
    folder = home.version(node.model, node.version)
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        with client.stream("GET", f"/versions/{node.model}/{quote(node.version, safe='')}/archive") as answer:
            if answer.status_code != 200:
                said = next(answer.iter_bytes(_SAID), b"").decode(errors="replace")
                raise Unreachable(
                    f"the control plane does not give {name}: {answer.status_code} {said}",
                    remedy="see maestro versions show, and the key in Secret maestro-model-server-key", component="api",
                )  # fmt: skip
            unpack(answer.iter_bytes(), partial, name, node.digest)
        shutil.rmtree(folder, ignore_errors=True)
        os.replace(partial, folder)
    except httpx.HTTPError as error:
        raise Unreachable(
            f"the control plane does not give {name}: {str(error) or type(error).__name__}",
            remedy="see that it runs; the pod tries again", component="api",
        ) from None  # fmt: skip
    finally:
        shutil.rmtree(partial, ignore_errors=True)
