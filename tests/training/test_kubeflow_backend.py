"""Jobs of the cluster backends as documents, and what conditions and pods say in words. What controllers do with them: tests/cluster."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from maestro.clients.kubernetes.pods import ended, first_waiting
from maestro.core.cluster import ClusterTraining
from maestro.core.errors import BadInput
from maestro.core.jobs import Resources
from maestro.core.settings import settings
from maestro.training.backends import check_backend, offered
from maestro.training.backends._base import Attempt, Phase
from maestro.training.backends.kubeflow import Operator
from maestro.training.backends.trainer import Trainer
from maestro.training.manifests.frameworks import FRAMEWORKS, framework
from maestro.training.manifests.kubeflow import counts, render
from maestro.training.manifests.naming import object_name
from maestro.training.manifests.pod import attempt_file
from tests.training.conftest import request_for

OPTIONS = ClusterTraining(home_claim="maestro-home", environment={"MLFLOW_TRACKING_URI": "http://mlflow:5000"})


def attempt_of(**fields: object) -> Attempt:
    return Attempt(
        job_id="job-7f3a", attempt=1, fence=4, request=request_for("tumour_v1", **fields), submitted_by="human:ada",
        folder=Path("/srv/attempts/1"), environment={"MLFLOW_TRACKING_URI": "http://127.0.0.1:5", "MAESTRO_API_KEY": "mk_x"},
    )  # fmt: skip


def pods_of(job: dict[str, Any]) -> list[dict[str, Any]]:
    replicas = job["spec"][FRAMEWORKS_BY_KIND[job["kind"]].replicas]
    return [replica["template"] for replica in replicas.values()]


FRAMEWORKS_BY_KIND = {kind.kind: kind for kind in FRAMEWORKS.values()}


@pytest.mark.parametrize("name", sorted(FRAMEWORKS))
@pytest.mark.parametrize("workers", [1, 3])
def test_a_job_of_each_framework(name: str, workers: int) -> None:
    job = render(attempt_of(framework=name, workers=workers, resources=Resources(cpu=1.5, memory="2Gi")), OPTIONS)
    assert job["kind"] == FRAMEWORKS[name].kind
    assert job["metadata"]["name"] == "job-7f3a-4"
    assert job["metadata"]["labels"]["maestro.dev/fence"] == "4"
    assert job["spec"]["runPolicy"]["activeDeadlineSeconds"] == 1800 + 300
    assert sum(counts(FRAMEWORKS[name], workers).values()) == workers + (name == "mpi")
    for pod in pods_of(job):
        spec, container = pod["spec"], pod["spec"]["containers"][0]
        assert container["name"] == FRAMEWORKS[name].container
        assert (
            container["resources"]["limits"] == container["resources"]["requests"] == {"cpu": "1500m", "memory": "2Gi"}
        )
        assert spec["automountServiceAccountToken"] is False
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert container["securityContext"]["readOnlyRootFilesystem"] is True
        variables = {item["name"]: item["value"] for item in container["env"]}
        assert variables["MLFLOW_TRACKING_URI"] == "http://mlflow:5000"
        assert variables["MAESTRO_HOME"] == OPTIONS.home_path


def test_no_credential_of_the_worker_reaches_a_pod() -> None:
    text = json.dumps(render(attempt_of(), OPTIONS))
    assert "mk_x" not in text
    assert "MAESTRO_API_KEY" not in text


def test_a_job_with_gpus_asks_for_them_and_may_go_where_they_are(tmp_path: Path) -> None:
    held = Resources(cpu=1, memory="1Gi", gpu=2)
    own = {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}
    job = render(attempt_of(resources=held, workers=2), OPTIONS)
    for pod in pods_of(job):
        assert pod["spec"]["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == 2
        assert pod["spec"]["tolerations"] == [own]
    train_job = Trainer(OPTIONS).render(attempt_of(resources=held))["spec"]
    assert train_job["trainer"]["resourcesPerNode"]["limits"]["nvidia.com/gpu"] == 2
    (patched,) = train_job["runtimePatches"][0]["trainingRuntimeSpec"]["template"]["spec"]["replicatedJobs"]
    assert patched["template"]["spec"]["template"]["spec"]["tolerations"] == [own]
    assert all("tolerations" not in pod["spec"] for pod in pods_of(render(attempt_of(), OPTIONS)))
    document = yaml.safe_load((ROOT / "training/templates/pytorch-training-job.yaml").read_text())
    site = {"key": "team", "operator": "Exists"}
    document["spec"]["pytorchReplicaSpecs"]["Master"]["template"]["spec"]["tolerations"] = [site]
    (tmp_path / "pytorch-training-job.yaml").write_text(yaml.safe_dump(document))
    (pod,) = pods_of(render(attempt_of(resources=held), OPTIONS.model_copy(update={"templates": tmp_path})))
    assert pod["spec"]["tolerations"] == [site, own]


def test_a_pod_reads_what_it_needs_and_no_more() -> None:
    attempt = attempt_of().model_copy(update={"labels": {"maestro.dev/trial": "3"}})
    read = Attempt.model_validate_json(attempt_file(attempt))
    assert (read.handle, read.folder, read.environment, read.labels) == (attempt.handle, Path("/attempt"), {}, {})
    assert render(attempt, OPTIONS)["metadata"]["labels"]["maestro.dev/trial"] == "3"


def test_rendering_again_gives_the_same() -> None:
    assert render(attempt_of(workers=2), OPTIONS) == render(attempt_of(workers=2), OPTIONS)


def test_mxnet_is_refused_and_the_unknown_is_told_the_known() -> None:
    for render_with in (Operator(OPTIONS).render, Trainer(OPTIONS).render):
        with pytest.raises(BadInput, match="MXNet was archived") as archived:
            render_with(attempt_of(framework="mxnet"))
        assert "XGBoost" in archived.value.remedy
        with pytest.raises(BadInput, match="'caffe' is unknown") as unknown:
            render_with(attempt_of(framework="caffe"))
        assert "tensorflow" in unknown.value.remedy
    assert framework("torch") is FRAMEWORKS["pytorch"]


def test_a_train_job_names_its_runtime() -> None:
    job = Trainer(OPTIONS).render(attempt_of(framework="jax", workers=2))
    assert job["spec"]["runtimeRef"]["name"] == "jax-distributed"
    assert job["spec"]["runtimeRef"]["kind"] == "ClusterTrainingRuntime"
    assert job["spec"]["trainer"]["numNodes"] == 2
    own = Trainer(OPTIONS).render(attempt_of(framework="tensorflow"))["spec"]["runtimeRef"]
    assert (own["kind"], own["name"]) == ("TrainingRuntime", "maestro-tensorflow")
    with pytest.raises(BadInput, match="no ClusterTrainingRuntime is set for paddle"):
        Trainer(OPTIONS).render(attempt_of(framework="paddle"))


@given(st.text(min_size=1, max_size=200))
def test_every_handle_has_a_name_that_the_api_takes(handle: str) -> None:
    name = object_name(handle)
    assert re.fullmatch(r"[a-z]([-a-z0-9]*[a-z0-9])?", name)
    assert len(name) <= 40


@given(st.lists(st.text(min_size=1, max_size=60), min_size=2, max_size=20, unique=True))
def test_no_two_handles_share_a_name(handles: list[str]) -> None:
    assert len({object_name(handle) for handle in handles}) == len(handles)


@pytest.mark.parametrize(
    ("conditions", "phase"),
    [
        ([], Phase.PENDING),
        ([("Created", "True")], Phase.PENDING),
        ([("Created", "True"), ("Running", "True")], Phase.RUNNING),
        ([("Running", "False"), ("Succeeded", "True")], Phase.SUCCEEDED),
        ([("Running", "False"), ("Failed", "True")], Phase.FAILED),
        ([("Suspended", "True")], Phase.PENDING),
    ],
)
def test_the_phase_follows_from_the_conditions(conditions: list[tuple[str, str]], phase: Phase) -> None:
    said = [{"type": kind, "status": status, "message": "x"} for kind, status in conditions]
    assert Operator(OPTIONS).phase({"status": {"conditions": said}})[0] is phase


def pod(status: dict[str, Any], name: str = "p", memory: str = "1Gi") -> dict[str, Any]:
    limits = {"containers": [{"resources": {"limits": {"memory": memory}}}]}
    return {"metadata": {"name": name}, "spec": limits, "status": status}


@pytest.mark.parametrize(
    ("terminated", "code", "words"),
    [
        ({"exitCode": 7}, 7, "worker 2 ended with exit status 7"),
        ({"exitCode": 137}, 137, "worker 2 was ended by SIGKILL"),
        ({"exitCode": 137, "reason": "OOMKilled"}, 137, "more than its 1Gi of memory"),
    ],
)
def test_why_a_pod_failed(terminated: dict[str, Any], code: int, words: str) -> None:
    found = ended(pod({"phase": "Failed", "containerStatuses": [{"state": {"terminated": terminated}}]}), 2)
    assert found is not None
    assert found[0] == code
    assert words in found[1]


def test_a_pod_that_was_evicted_and_one_that_runs() -> None:
    evicted = ended(pod({"phase": "Failed", "reason": "Evicted", "message": "low on disk"}), 0)
    assert evicted == (None, "worker 0 was evicted: low on disk")
    assert ended(pod({"phase": "Running"}), 0) is None


def test_what_does_not_pass_is_told_before_what_may() -> None:
    unplaced = pod(
        {"conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "no cpu"}]}
    )
    pulling = pod({"containerStatuses": [{"image": "i", "state": {"waiting": {"reason": "ErrImagePull"}}}]}, "q")
    why = first_waiting([unplaced, pulling])
    assert why is not None
    assert why[0] == "ErrImagePull"
    assert why[1].startswith("pod q: its image cannot be pulled")
    assert first_waiting([pod({"phase": "Running"})]) is None


def test_a_cluster_backend_is_offered_where_settings_name_it(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BadInput, match="needs a cluster") as refused:
        check_backend("kubeflow")
    assert "MAESTRO_CLUSTER__TRAINING__BACKENDS" in refused.value.remedy
    monkeypatch.setenv("MAESTRO_CLUSTER__TRAINING__BACKENDS", '["kubeflow"]')
    settings.cache_clear()
    check_backend("kubeflow")
    assert sorted(offered()) == ["kubeflow", "local"]
    with pytest.raises(BadInput, match="needs a cluster"):
        check_backend("trainer")


ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", ["tensorflow", "pytorch"])
def test_a_site_s_template_lies_under_the_job(name: str, tmp_path: Path) -> None:
    """The templates of the repository, with a toleration and a variable of the site."""
    document = yaml.safe_load((ROOT / f"training/templates/{name}-training-job.yaml").read_text())
    for replica in document["spec"][FRAMEWORKS[name].replicas].values():
        spec = replica["template"]["spec"]
        spec["tolerations"] = [{"key": "gpu", "operator": "Exists"}]
        spec["containers"][0]["env"] = [{"name": "SITE", "value": "1"}, {"name": "MLFLOW_TRACKING_URI", "value": "no"}]
    (tmp_path / f"{name}-training-job.yaml").write_text(yaml.safe_dump(document))
    options = OPTIONS.model_copy(update={"templates": tmp_path})
    attempt = attempt_of(framework=name, workers=2)
    job = render(attempt, options)
    assert render(attempt, options) == job
    for pod in pods_of(job):
        container = pod["spec"]["containers"][0]
        variables = {item["name"]: item["value"] for item in container["env"]}
        assert pod["spec"]["tolerations"] == [{"key": "gpu", "operator": "Exists"}]
        assert (variables["SITE"], variables["MLFLOW_TRACKING_URI"]) == ("1", "http://mlflow:5000")
        assert container["image"] == f"localhost/maestro-ml/training-{name}:0.1.0"
        assert container["command"][-1] == "/attempt"
        assert "args" not in container
        assert {volume["name"] for volume in pod["spec"]["volumes"]} >= {"attempt", "request", "tmp", "home"}
    assert pods_of(render(attempt_of(), options))[0]["spec"]["containers"][0]["image"] == OPTIONS.image


def test_a_template_of_another_kind_is_refused(tmp_path: Path) -> None:
    (tmp_path / "jax-training-job.yaml").write_text("kind: JAXJob\nspec: {jaxReplicaSpecs: {}}\n")
    with pytest.raises(BadInput, match=r"jax-training-job\.yaml is no JAXJob"):
        render(attempt_of(framework="jax"), OPTIONS.model_copy(update={"templates": tmp_path}))
