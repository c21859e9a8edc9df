"""Tests on a node that runs containers, of the cluster that KUBECONFIG names; without one they are skipped with one line."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from maestro.clients.kubernetes.connection import Connection
from maestro.clients.kubernetes.objects import Cluster
from tests.cluster.platform_stage import simulated
from tests.node.installation import Installation, install, missing_images
from tests.node.reaching import Api, forwarded, key_of


@pytest.fixture(scope="session")
def node() -> Cluster:
    """The cluster, whose node is no simulated one."""
    if not os.environ.get("KUBECONFIG"):
        pytest.skip("no node: KUBECONFIG is not set")
    cluster = Cluster(Connection.load())
    if simulated(cluster):
        pytest.skip("no node here runs containers")
    return cluster


@pytest.fixture(scope="session")
def installed(node: Cluster) -> Installation:
    """The small platform, applied as its guide says, and everything in it ready that can be."""
    if missing := missing_images(node):
        pytest.skip(f"the node lacks {', '.join(missing)}: make images, with --load")
    return install(node)


@pytest.fixture(scope="session")
def api(installed: Installation) -> Iterator[Api]:
    """The control plane's API, as its first operator."""
    with forwarded("ml-platform", "svc/control-plane-api", 8080) as url:
        yield Api(url, key_of("operator"))
