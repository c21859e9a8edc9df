"""The frameworks that the training operator runs, and what it calls their parts."""

from __future__ import annotations

from dataclasses import dataclass

from maestro.core.errors import BadInput

API_VERSION = "kubeflow.org/v1"
DEFAULT = "pytorch"


@dataclass(frozen=True)
class Framework:
    """One kind of job.

    `leader` is the replica type of which there is one, if there is such a type; `leader_works` says whether it counts as a worker.
    """

    name: str
    kind: str
    replicas: str
    container: str
    worker: str = "Worker"
    leader: str | None = None
    leader_works: bool = True

    @property
    def first(self) -> str:
        """The replica type of rank 0, as the operator labels its pods."""
        return (self.leader or self.worker).lower()


FRAMEWORKS: dict[str, Framework] = {
    framework.name: framework
    for framework in (
        Framework("tensorflow", "TFJob", "tfReplicaSpecs", "tensorflow", leader="Chief"),
        Framework("pytorch", "PyTorchJob", "pytorchReplicaSpecs", "pytorch", leader="Master"),
        Framework("xgboost", "XGBoostJob", "xgbReplicaSpecs", "xgboost", leader="Master"),
        Framework("paddle", "PaddleJob", "paddleReplicaSpecs", "paddle"),
        Framework("mpi", "MPIJob", "mpiReplicaSpecs", "mpi", leader="Launcher", leader_works=False),
        Framework("jax", "JAXJob", "jaxReplicaSpecs", "jax"),
    )
}
"""By name."""

_ARCHIVED = {"mxnet", "mxjob"}
_ALSO = {"torch": "pytorch", "tf": "tensorflow", "paddlepaddle": "paddle"}


def framework(name: str | None, field: str = "framework") -> Framework:
    """The framework of a name; PyTorch's job, which only sets variables, when none is named.

    Raises:
        BadInput: it is unknown, or MXNet; the known ones are listed.

    >>> framework(None).kind, framework("tf").kind
    ('PyTorchJob', 'TFJob')
    """
    wanted = (name or DEFAULT).lower()
    if wanted in _ARCHIVED:
        raise BadInput(
            "MXNet was archived by its maintainers and is not supported",
            field=field,
            remedy="port the model to PyTorch, TensorFlow, XGBoost or PaddlePaddle",
        )
    found = FRAMEWORKS.get(_ALSO.get(wanted, wanted))
    if found is None:
        raise BadInput(
            f"framework {name!r} is unknown", field=field, remedy=f"choose one of {', '.join(sorted(FRAMEWORKS))}"
        )
    return found
