"""Where training runs: one seam, one implementation a file."""

from __future__ import annotations

from collections.abc import Callable

from maestro.core.errors import BadInput
from maestro.core.settings import settings
from maestro.training.backends._base import Attempt, BackendStatus, Phase, TrainingBackend
from maestro.training.backends.local import LocalBackend

__all__ = [
    "BACKENDS",
    "Attempt",
    "BackendStatus",
    "LocalBackend",
    "Phase",
    "TrainingBackend",
    "backend",
    "check_backend",
    "offered",
]

BACKENDS: dict[str, Callable[[], TrainingBackend]] = {"local": LocalBackend}
"""Name to implementation."""

_ARCHIVED = {"mxnet", "mxjob"}


def _in_cluster(name: str) -> TrainingBackend:
    from maestro.clients.kubernetes.connection import Connection
    from maestro.clients.kubernetes.objects import Cluster
    from maestro.training.backends.kubeflow import kubeflow_backend
    from maestro.training.backends.trainer import trainer_backend

    options = settings().cluster
    connection = Connection.load(
        options.kubeconfig, options.context, timeout_s=options.timeout_s, patience_s=options.patience_s
    )
    made = {"kubeflow": kubeflow_backend, "trainer": trainer_backend}[name]
    return made(Cluster(connection), options.training)


CLUSTER_BACKENDS: dict[str, Callable[[], TrainingBackend]] = {
    "kubeflow": lambda: _in_cluster("kubeflow"),
    "trainer": lambda: _in_cluster("trainer"),
}
"""Those that need a cluster: offered where `MAESTRO_CLUSTER__TRAINING__BACKENDS` names them."""


def offered() -> dict[str, Callable[[], TrainingBackend]]:
    """The backends that this process offers, by name."""
    return BACKENDS | {name: CLUSTER_BACKENDS[name] for name in settings().cluster.training.backends}


def check_backend(name: str, field: str = "backend") -> None:
    """Refuse a backend that does not exist.

    Raises:
        BadInput: it is unknown, or MXNet; the known ones are listed.

    >>> check_backend("local")
    """
    if name.lower() in _ARCHIVED:
        raise BadInput(
            "MXNet was archived by its maintainers and is not supported",
            field=field, remedy="port the model to PyTorch, TensorFlow, XGBoost or PaddlePaddle",
        )  # fmt: skip
    known = offered()
    if name in CLUSTER_BACKENDS and name not in known:
        raise BadInput(
            f"backend {name!r} needs a cluster, and is not offered here", field=field,
            remedy=f"set MAESTRO_CLUSTER__TRAINING__BACKENDS='[\"{name}\"]' for API and workers, or choose one of {', '.join(sorted(known))}",
        )  # fmt: skip
    if name not in known:
        raise BadInput(f"backend {name!r} is unknown", field=field, remedy=f"choose one of {', '.join(sorted(known))}")


def backend(name: str) -> TrainingBackend:
    """The backend called `name`.

    Raises:
        BadInput: there is none.
    """
    check_backend(name)
    return offered()[name]()
