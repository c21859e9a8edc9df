"""The TrainJob of an attempt."""

from __future__ import annotations

from pathlib import Path

import pytest

from maestro.core.cluster import ClusterTraining
from maestro.core.errors import BadInput
from maestro.training.backends._base import Attempt
from maestro.training.manifests.trainjob import API_VERSION, render
from tests.training.conftest import request_for


def _attempt(**fields: object) -> Attempt:
    request = request_for("tumour_v1", **fields)
    folder = Path("/srv/attempts/1")
    return Attempt(job_id="job-1", attempt=1, fence=4, request=request, submitted_by="human:ada", folder=folder)


def test_a_job_names_its_runtime_and_its_workers() -> None:
    job = render(
        _attempt(framework="pytorch", workers=3), ClusterTraining(runtimes={"pytorch": "TrainingRuntime/ours"})
    )
    assert (job["apiVersion"], job["kind"]) == (API_VERSION, "TrainJob")
    assert job["spec"]["runtimeRef"] == {
        "name": "ours", "kind": "TrainingRuntime", "apiGroup": "trainer.kubeflow.org",
    }  # fmt: skip
    assert job["spec"]["trainer"]["numNodes"] == 3
    assert job["spec"]["suspend"] is False


def test_with_a_queue_it_waits_for_kueue() -> None:
    job = render(_attempt(framework="pytorch"), ClusterTraining(runtimes={"pytorch": "ours"}, queue="team"))
    assert job["spec"]["suspend"] is True
    assert job["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "team"


def test_without_a_runtime_the_setting_is_named() -> None:
    with pytest.raises(BadInput, match="no ClusterTrainingRuntime is set for tensorflow") as refused:
        render(_attempt(framework="tensorflow"), ClusterTraining(runtimes={"pytorch": "ours"}))
    assert "MAESTRO_CLUSTER__TRAINING__RUNTIMES" in refused.value.remedy
