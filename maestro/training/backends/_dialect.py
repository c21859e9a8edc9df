"""What differs between the controllers that run training jobs in a cluster."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from maestro.training.backends._base import Attempt, Phase


class Dialect(Protocol):
    """One controller's way of writing a job and its state.

    Obligations: pure; `render` gives the same document for the same attempt; `phase` judges by the job's conditions alone.
    """

    name: str
    api_version: str
    needs: str
    """What has to be installed, in words."""

    def render(self, attempt: Attempt) -> dict[str, Any]:
        """The job of an attempt, its namespace included.

        Raises:
            BadInput: this controller cannot run such a request.
        """
        ...

    def phase(self, job: Mapping[str, Any]) -> tuple[Phase, str]:
        """Where the job stands, and what its conditions say of a failure."""
        ...

    def pod_labels(self, job_name: str) -> dict[str, str]:
        """The labels of the job's pods."""
        ...

    def rank(self, pod: Mapping[str, Any], pods: Sequence[Mapping[str, Any]]) -> int:
        """The worker's number; 0 is the one whose log is the job's, -1 is none of the workers."""
        ...
