"""The table: each image of others that the platform names, and what is run in its place where it cannot be pulled."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent


@dataclass(frozen=True)
class StandIn:
    """One image's stand-in.

    Args:
        image: name without tag, as versions.yaml has it.
        by: what really runs, in words.
        folder: with a Dockerfile; None when the program alone makes the image.
        program: a program on PATH that goes into the image.
        at: where the program lies in the image, when it is the whole image.
    """

    image: str
    by: str
    folder: str | None = None
    program: str | None = None
    at: str = ""


STAND_INS = (
    StandIn("docker.io/library/postgres", "PostgreSQL of Debian, another major version", folder="postgres"),
    StandIn("docker.io/library/redis", "Redis of Debian, another minor version", folder="redis"),
    StandIn("docker.io/prom/alertmanager", "Alertmanager of Debian, without its page", folder="alertmanager"),
    StandIn(
        "docker.io/chrislusf/seaweedfs", "versitygw, another S3 server", folder="seaweedfs", program="versitygw"
    ),
    StandIn("docker.io/prom/prometheus", "the same program", program="prometheus", at="/bin/prometheus"),
    StandIn(
        "ghcr.io/kubeflow/training-v1/training-operator", "the same program", program="training-operator", at="/manager"
    ),
    StandIn(
        "registry.k8s.io/prometheus-adapter/prometheus-adapter", "the same program",
        program="prometheus-adapter", at="/adapter",
    ),
)  # fmt: skip

NO_PROGRAM = {
    "docker.io/grafana/grafana": "Deployment/grafana",
    "docker.io/grafana/loki": "Deployment/loki",
    "docker.io/grafana/alloy": "Deployment/alloy",
    "docker.io/jaegertracing/jaeger": "Deployment/jaeger",
    "registry.k8s.io/kube-state-metrics/kube-state-metrics": "Deployment/kube-state-metrics",
}
"""Images that nothing here can stand in for, and the workload that therefore does not start."""
