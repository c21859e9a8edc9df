"""What a training pod is labelled, and who knows it by that."""

from __future__ import annotations

from pathlib import Path

import yaml

from maestro.training.backends._base import Attempt
from maestro.training.manifests.naming import labels
from tests.training.conftest import request_for

MANIFEST = Path(__file__).parents[3] / "infrastructure/kubernetes/training-operator.yaml"


def test_the_network_policy_of_training_pods_is_theirs(tmp_path: Path) -> None:
    documents = [document for document in yaml.safe_load_all(MANIFEST.read_text()) if document]
    (policy,) = [
        one for one in documents if one["kind"] == "NetworkPolicy" and one["metadata"]["name"] == "training-job"
    ]
    attempt = Attempt(
        job_id="job-1", attempt=1, fence=1, submitted_by="human:ada", folder=tmp_path, request=request_for("tumour_v1")
    )
    assert policy["spec"]["podSelector"]["matchLabels"].items() <= labels(attempt, "kubeflow").items()
