"""The verifiers of API keys in a ConfigMap, so that servers of the cluster, which have no database, know a new key and forget a revoked one."""

from __future__ import annotations

from pathlib import Path

from maestro.clients.kubernetes.objects import Cluster, Ref
from maestro.core.errors import Conflict

NAME, KEY = "maestro-verifiers", "server-keys.json"


class VerifierMap:
    """Keeps one ConfigMap equal to the file that the control plane exports. What it holds recognises keys and is no secret.

    Args:
        cluster: the API server.
        namespace: of the model servers.
        source: `server-keys.json` of the control plane.
    """

    def __init__(self, cluster: Cluster, namespace: str, source: Path) -> None:
        self._cluster = cluster
        self._ref = Ref("v1", "ConfigMap", NAME, namespace)
        self._source = source
        self._published: tuple[int, int] | None = None

    def publish(self) -> bool:
        """Write what changed since the last look; gives whether anything did. Without the file nothing is done.

        Raises:
            Unreachable: the API server does not answer.
        """
        try:
            status = self._source.stat()
        except FileNotFoundError:
            return False
        stamp = (status.st_mtime_ns, status.st_ino)
        if stamp == self._published:
            return False
        text = self._source.read_text(encoding="utf-8")
        found = self._cluster.find(self._ref)
        changed = found is None or (found.get("data") or {}).get(KEY) != text
        if found is None:
            labels = {"app.kubernetes.io/part-of": "maestro-ml", "app.kubernetes.io/managed-by": "maestro"}
            metadata = {"name": self._ref.name, "namespace": self._ref.namespace, "labels": labels}
            try:
                self._cluster.create(
                    {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {KEY: text}}
                )
            except Conflict:
                return False  # somebody made it in this moment: the next look writes
        elif changed:
            self._cluster.patch(self._ref, {"data": {KEY: text}})
        self._published = stamp
        return changed
