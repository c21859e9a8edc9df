"""Versions that a graph names and the home lacks, brought from the control plane before the server starts.

Where they come from is trusted for nothing: the server takes every version through quarantine, digests and statements all the same.
"""

from __future__ import annotations

import io
import os
import shutil
import tarfile
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

import httpx

from maestro.clients.home import Home
from maestro.core.errors import Malformed, TooLarge, Unreachable
from maestro.core.graph import ModelNode
from maestro.serving.graph_file import parse_graph

MAX_BYTES = 4 * 2**30
_RETRIES = 5


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
        Unreachable: the control plane does not answer, or has no such version.
        Malformed: what it sent is no version's archive.
        TooLarge: it is larger than `MAX_BYTES`.
    """
    lacking = _lacking(home, nodes)
    headers = {"Authorization": f"Bearer {token}"}
    transport = httpx.HTTPTransport(retries=_RETRIES)
    with httpx.Client(base_url=url, headers=headers, timeout=60, transport=transport) as client:
        for node in lacking:
            _bring(client, home, node)
    return [f"{node.model}@{node.version}" for node in lacking]


def _lacking(home: Home, nodes: Iterable[ModelNode]) -> list[ModelNode]:
    # a candidate's promotion comes later than its files
    needed = ("manifest.json", "statements/promotion.json")
    return [
        node for node in nodes if not all((home.version(node.model, node.version) / name).exists() for name in needed)
    ]


def _bring(client: httpx.Client, home: Home, node: ModelNode) -> None:
    name = f"{node.model}@{node.version}"
    try:
        answer = client.get(f"/versions/{node.model}/{node.version}/archive")
    except httpx.HTTPError as error:
        raise Unreachable(
            f"the control plane does not give {name}: {str(error) or type(error).__name__}",
            remedy="see that it runs; the pod tries again", component="api",
        ) from None  # fmt: skip
    if answer.status_code != 200:
        raise Unreachable(
            f"the control plane does not give {name}: {answer.status_code} {answer.text[:200]}",
            remedy="see maestro versions show, and the key in Secret maestro-model-server-key", component="api",
        )  # fmt: skip
    folder = home.version(node.model, node.version)
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    unpack(answer.content, partial, name)
    shutil.rmtree(folder, ignore_errors=True)
    os.replace(partial, folder)


def unpack(content: bytes, folder: Path, name: str) -> None:
    """Write the plain files of an archive below a folder; anything else in it is refused.

    Raises:
        Malformed: it is no archive, or holds what is no plain file below its own folder.
        TooLarge: its files are larger than `MAX_BYTES`.
    """
    total = 0
    try:
        with tarfile.open(fileobj=io.BytesIO(content), mode="r:") as archive:
            for member in archive:
                path = PurePosixPath(member.name)
                if not member.isreg() or path.is_absolute() or ".." in path.parts:
                    raise Malformed(f"{name}: {member.name!r} in its archive is no plain file below it")
                total += member.size
                if total > MAX_BYTES:
                    raise TooLarge(f"{name} is larger than {MAX_BYTES} bytes")
                source = archive.extractfile(member)
                target = folder / path
                target.parent.mkdir(parents=True, exist_ok=True)
                with target.open("wb") as file:
                    shutil.copyfileobj(source, file) if source is not None else None
    except tarfile.TarError as error:
        raise Malformed(f"{name}: what was sent is no archive: {error}") from None
