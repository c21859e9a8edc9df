"""What the servers behind a Service say that they serve, each asked by itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import httpx

from maestro.clients.kubernetes.objects import Cluster
from maestro.core.cluster import ClusterServing
from maestro.core.errors import Refused
from maestro.core.graph import InferenceGraph

Addresses = Callable[[], Sequence[str]]


def endpoints(cluster: Cluster, options: ClusterServing) -> Addresses:
    """The addresses of the Service's pods, from its EndpointSlices; those that are not ready are among them, those that end are not."""

    def found() -> Sequence[str]:
        slices = cluster.list(
            "discovery.k8s.io/v1",
            "EndpointSlice",
            options.namespace,
            labels={"kubernetes.io/service-name": options.service},
        )
        urls = []
        for item in slices:
            port = _port(item, options.control_port)
            for endpoint in item.get("endpoints") or []:
                if port and not (endpoint.get("conditions") or {}).get("terminating"):
                    host = endpoint["addresses"][0]
                    urls.append(f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}")
        return sorted(urls)

    return found


def behind(addresses: Sequence[str], model: str, graph: InferenceGraph, token: str) -> str:
    """What is missing until every server serves a graph, in words; nothing when they all do.

    Raises:
        Refused: a server refused the graph, or does not accept the key.
    """
    if not addresses:
        return "no server is behind the Service"
    for url in addresses:
        document, problem = _ask(url, model, token)
        if document is None:
            return f"the model server {url} {problem}"
        refusal = document["refusal"]
        if refusal is not None and refusal["revision"] == graph.metadata.revision:
            raise Refused(
                f"the model server {url} refused revision {graph.metadata.revision} of {model}: {refusal['problem']['detail']}",
                remedy=refusal["problem"].get("remedy") or "correct the graph",
                cause=refusal["problem"]["type"],
            )
        if document["graph"] != graph.document():
            return f"the model server {url} serves revision {document['revision']}"
    return ""


def _ask(url: str, model: str, token: str) -> tuple[dict[str, Any] | None, str]:
    try:
        response = httpx.get(
            f"{url}/admin/graphs/{model}", headers={"Authorization": f"Bearer {token}"}, timeout=3.0, trust_env=False
        )
    except httpx.HTTPError as error:
        return None, f"does not answer ({str(error) or type(error).__name__})"
    if response.status_code in (401, 403):
        raise Refused(
            f"the model server {url} does not accept the key: {response.text[:200]}", remedy="use a key with a role"
        )
    if response.status_code != 200:
        return None, f"answers {response.status_code}"
    document: dict[str, Any] = response.json()
    return document, ""


def _port(item: dict[str, Any], wanted: str | int) -> int | None:
    for port in item.get("ports") or []:
        if wanted in (port.get("name"), port.get("port")) or len(item["ports"]) == 1:
            return int(port["port"])
    return None
