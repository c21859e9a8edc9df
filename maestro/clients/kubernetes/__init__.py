"""One Kubernetes API server: the connection, its objects, leases. The only place that imports the `kubernetes` library."""

from maestro.clients.kubernetes.connection import Connection
from maestro.clients.kubernetes.objects import Cluster, Ref

__all__ = ["Cluster", "Connection", "Ref"]
