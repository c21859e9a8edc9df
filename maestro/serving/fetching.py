"""Versions that a graph names and the home lacks, brought from the control plane before the server starts.

Where they come from is trusted for nothing: the server takes every version through quarantine, digests and statements all the same.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from urllib.parse import quote

import httpx

from maestro.clients.home import Home
from maestro.core.errors import BadInput, Unreachable
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
        Unreachable: the control plane does not answer, or has no such version.
        Malformed: what it sent is no version's archive.
        TooLarge: it is larger than `maestro.serving.unpacking.MAX_BYTES`.
        Untrusted: it is not the version that the graph pins.
    """
    lacking = _lacking(home, nodes)
    headers = {"Authorization": f"Bearer {token}"}
    transport = httpx.HTTPTransport(retries=_RETRIES)
    with httpx.Client(base_url=url, headers=headers, timeout=60, transport=transport) as client:
        for node in lacking:
            _bring(client, home, node)
    return [f"{node.model}@{node.version}" for node in lacking]


def fetch_version(home: Home, name: str, url: str, token: str) -> None:
    """Bring one version that the home lacks, as the control plane has it; whoever uses it checks its statements, which say what it may be used for.

    Args:
        name: `MODEL@VERSION`.

    Raises:
        BadInput: the name has no version: shares of one job must not take different ones.
        Unreachable, Malformed, TooLarge, Untrusted: as in `fetch_versions`.
    """
    model, _, version = name.partition("@")
    if not model or not version:
        raise BadInput(f"{name[:200]!r} names no version", field="model", remedy="give NAME@VERSION")
    try:
        answer = httpx.get(
            f"{url}/versions/{quote(model, safe='')}/{quote(version, safe='')}",
            headers={"Authorization": f"Bearer {token}"}, timeout=60,
        )  # fmt: skip
        answer.raise_for_status()
        pinned = {"type": "model", "model": model, "version": version, "digest": answer.json()["digest"]}
        node = ModelNode.model_validate(pinned)
    except (httpx.HTTPError, httpx.InvalidURL, ValueError, KeyError, TypeError) as error:
        raise Unreachable(
            f"the control plane does not tell of {name[:200]}: {str(error) or type(error).__name__}",
            remedy="see maestro versions show, and the key that is given", component="api",
        ) from None  # fmt: skip
    fetch_versions(home, [node], url, token)


def _lacking(home: Home, nodes: Iterable[ModelNode]) -> list[ModelNode]:
    # a candidate's promotion comes later than its files
    needed = ("manifest.json", "statements/promotion.json")
    return [
        node for node in nodes if not all((home.version(node.model, node.version) / name).exists() for name in needed)
    ]


def _bring(client: httpx.Client, home: Home, node: ModelNode) -> None:
    name = f"{node.model}@{node.version}"
    folder = home.version(node.model, node.version)
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        with client.stream("GET", f"/versions/{node.model}/{node.version}/archive") as answer:
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
