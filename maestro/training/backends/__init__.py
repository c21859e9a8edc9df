"""Where training runs: one seam, one implementation a file."""

from __future__ import annotations

from collections.abc import Callable

from maestro.core.errors import BadInput
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
]

BACKENDS: dict[str, Callable[[], TrainingBackend]] = {"local": LocalBackend}
"""Name to implementation."""

_ARCHIVED = {"mxnet", "mxjob"}


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
    if name not in BACKENDS:
        raise BadInput(
            f"backend {name!r} is unknown", field=field, remedy=f"choose one of {', '.join(sorted(BACKENDS))}"
        )


def backend(name: str) -> TrainingBackend:
    """The backend called `name`.

    Raises:
        BadInput: there is none.
    """
    check_backend(name)
    return BACKENDS[name]()
