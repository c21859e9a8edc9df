"""Tests on a node that runs containers, of the cluster that KUBECONFIG names; without one they are skipped with one line."""

from __future__ import annotations

import os
import socket

import pytest

from maestro.clients.kubernetes.connection import Connection
from maestro.clients.kubernetes.objects import Cluster
from tests.cluster.platform_stage import simulated
from tests.node.callers import service_address
from tests.node.installation import Installation, install, missing_images
from tests.node.reaching import Api, key_of


@pytest.fixture(scope="session")
def node() -> Cluster:
    """The cluster, whose node is no simulated one."""
    if not os.environ.get("KUBECONFIG"):
        pytest.skip("no node: KUBECONFIG is not set")
    cluster = Cluster(Connection.load())
    if simulated(cluster):
        pytest.skip("no node here runs containers")
    address = service_address(cluster, "default", "kubernetes").removeprefix("http://").partition(":")[0]
    try:
        socket.create_connection((address, 443), timeout=5).close()
    except OSError:
        pytest.skip("the addresses of Services do not answer here: run this on the node, or open a tunnel to it")
    return cluster


@pytest.fixture(scope="session")
def installed(node: Cluster) -> Installation:
    """The small platform, applied as its guide says, and everything in it ready that can be."""
    if missing := missing_images(node):
        pytest.skip(f"the node lacks {', '.join(missing)}: make images, with --load")
    return install(node)


@pytest.fixture(scope="session")
def api(node: Cluster, installed: Installation) -> Api:
    """The control plane's API, as its first operator."""
    return Api(service_address(node, "ml-platform", "control-plane-api"), key_of("operator"))
