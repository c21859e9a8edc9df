"""How an attempt's objects are named and labelled, so that whoever comes after a dead worker finds them."""

from __future__ import annotations

import hashlib
import re

from maestro.training.backends._base import Attempt

JOB_ID = "maestro.dev/job-id"
FENCE = "maestro.dev/fence"
ATTEMPT = "maestro.dev/attempt"
TENANT = "maestro.dev/tenant"
HANDLE = "maestro.dev/handle"
SUBMITTED_BY = "maestro.dev/submitted-by"
JOB_KIND = "maestro.dev/job-kind"
BACKEND = "maestro.dev/backend"

_LONGEST = 40
"""The operator appends the replica's type and index, and a Service's name has at most 63 characters."""


def object_name(handle: str) -> str:
    """The name of an attempt's objects: its handle, made a DNS label; a digest stands for what is lost.

    >>> object_name("job-7f3a-2")
    'job-7f3a-2'
    >>> object_name("Job_7-1")
    'job-7-1-86efe1'
    """
    name = re.sub(r"[^a-z0-9-]+", "-", handle.lower()).strip("-")
    if name != handle or len(name) > _LONGEST or not name[:1].isalpha():
        mark = hashlib.sha256(handle.encode()).hexdigest()[:6]
        name = f"{name if name[:1].isalpha() else 'job-' + name}"[: _LONGEST - 7].rstrip("-") + f"-{mark}"
    return name


def label_value(text: str) -> str:
    """A text as a label's value: what it may not hold becomes a hyphen.

    >>> label_value("human:ada")
    'human-ada'
    """
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text)[:63].strip("-._")


def labels(attempt: Attempt, backend: str) -> dict[str, str]:
    """Whose the objects of an attempt are."""
    return dict(attempt.labels) | {
        "app.kubernetes.io/name": "training-job",
        "app.kubernetes.io/component": "training-job",
        "app.kubernetes.io/part-of": "maestro-ml",
        "app.kubernetes.io/managed-by": "maestro",
        BACKEND: backend,
        JOB_ID: label_value(attempt.job_id),
        FENCE: str(attempt.fence),
        ATTEMPT: str(attempt.attempt),
        TENANT: label_value(attempt.request.tenant_id),
    }


def owned(job_id: str, backend: str) -> dict[str, str]:
    """The labels by which all attempts of a job are found."""
    return {"app.kubernetes.io/managed-by": "maestro", BACKEND: backend, JOB_ID: label_value(job_id)}
