"""How the platform acts on a Kubernetes cluster (`MAESTRO_CLUSTER__*`)."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, Field


class ClusterTraining(BaseModel):
    """What training jobs look like in the cluster (`MAESTRO_CLUSTER__TRAINING__*`)."""

    backends: tuple[Literal["kubeflow", "trainer"], ...] = Field(
        default=(), description="the cluster backends that API and workers offer beside `local`"
    )
    namespace: str = "kubeflow-training"
    templates: Path | None = Field(
        default=None, description="folder such as training/templates: what a site adds to the pods of a framework"
    )
    image: str = Field(default="localhost/maestro-ml/training:0.1.0", description="runs jobs of every framework")
    images: dict[str, str] = Field(default={}, description="framework to image, where it is another")
    pull_policy: Literal["IfNotPresent", "Always", "Never"] = "IfNotPresent"
    service_account: str = Field(default="training-job", description="of the pods; no token of it is mounted")
    home_claim: str | None = Field(
        default=None, description="PersistentVolumeClaim with features and data, mounted read-only at home_path"
    )
    home_path: str = "/var/lib/maestro"
    environment: dict[str, str] = Field(
        default={}, description="of every pod, above the worker's own, such as MLFLOW_TRACKING_URI in the cluster"
    )
    environment_secret: str | None = Field(default=None, description="Secret whose keys become variables")
    annotations: dict[str, str] = Field(default={}, description="of every pod")
    queue: str | None = Field(default=None, description="Kueue LocalQueue")
    priority_classes: dict[str, str] = Field(
        default={name: f"training-{name}" for name in ("urgent", "high", "normal", "low")},
        description="priority of a job to PriorityClass",
    )
    runtimes: dict[str, str] = Field(
        default={"pytorch": "TrainingRuntime/maestro-pytorch", "tensorflow": "TrainingRuntime/maestro-tensorflow",
                 "jax": "jax-distributed", "xgboost": "xgboost-distributed", "mpi": "deepspeed-distributed"},
        description="framework to runtime of Trainer v2: a ClusterTrainingRuntime, or TrainingRuntime/<name> of the namespace",
    )  # fmt: skip
    startup_s: float = Field(
        default=300.0,
        gt=0,
        description="an image that cannot be pulled, or a container that cannot be made, fails after",
    )
    grace_s: int = Field(default=10, ge=0, description="seconds from SIGTERM to SIGKILL")


class ClusterServing(BaseModel):
    """Where traffic is moved in the cluster (`MAESTRO_CLUSTER__SERVING__*`)."""

    namespace: str = "ml-serving"
    graph: str = Field(default="ab-test-config", description="ConfigMap whose key graph.yaml is the inference graph")
    traffic: Literal["router", "httproute", "selector", "rolling"] = Field(
        default="router",
        description="what carries weights out: the router by the graph alone, a Gateway API HTTPRoute, "
        "the selector of a Service (all or nothing), or the replacement of one Deployment's pods one by one",
    )
    service: str = Field(default="mlflow-model-server", description="what callers reach; its endpoints are asked")
    route: str = Field(default="mlflow-model-server", description="HTTPRoute")
    champion: str = Field(default="model-champion", description="Deployment, and Service of the same name")
    challenger: str = Field(default="model-challenger", description="Deployment, and Service of the same name")
    replicas: int = Field(default=1, ge=1, description="of the slot that has all the traffic")
    control_port: str | int = Field(default="http", description="port of a replica that answers /admin/graphs")


class ClusterSettings(BaseModel):
    """Which cluster, and how."""

    kubeconfig: Path | None = Field(default=None, description="default: KUBECONFIG, else the pod's ServiceAccount")
    context: str | None = None
    timeout_s: float = Field(default=15.0, gt=0, description="how long the API server may take to answer")
    patience_s: float = Field(default=10.0, gt=0, description="for how long a refused request is tried again")
    training: ClusterTraining = ClusterTraining()
    serving: ClusterServing = ClusterServing()
