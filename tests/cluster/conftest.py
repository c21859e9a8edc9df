"""Tests on the cluster that KUBECONFIG names; without one they are skipped with one line."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator

import pytest

from maestro.clients.kubernetes.connection import Connection
from maestro.clients.kubernetes.objects import Cluster, Ref
from tests.cluster.leading import place, quick  # noqa: F401 - fixtures of rollouts
from tests.governance.conftest import kit, make_kit, policy, store  # noqa: F401 - fixtures of rollouts
from tests.security.vault_server import vault_server  # noqa: F401 - a fixture


@pytest.fixture(scope="session")
def cluster() -> Cluster:
    """The cluster of these tests."""
    if not os.environ.get("KUBECONFIG"):
        pytest.skip("no cluster: KUBECONFIG is not set")
    return Cluster(Connection.load())


@pytest.fixture
def namespace(cluster: Cluster) -> Iterator[str]:
    """A namespace of this test, with Pod Security `restricted` enforced."""
    name = f"control-{uuid.uuid4().hex[:8]}"
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    cluster.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}})
    yield name
    cluster.delete(Ref("v1", "Namespace", name))
