"""What a site's templates add, and what they may not be."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from maestro.core.errors import BadInput
from maestro.training.manifests.frameworks import framework
from maestro.training.manifests.templates import pod_of, under

TEMPLATES = Path(__file__).parents[3] / "training" / "templates"


@pytest.mark.parametrize("name", ["pytorch", "tensorflow"])
def test_the_templates_of_the_repository_are_templates(name: str) -> None:
    kind = framework(name)
    containers = [each["name"] for each in pod_of(TEMPLATES, kind)["spec"]["containers"]]
    assert kind.container in containers


def test_without_a_folder_or_a_file_nothing_is_added(tmp_path: Path) -> None:
    assert pod_of(None, framework("pytorch")) == {}
    assert pod_of(tmp_path, framework("pytorch")) == {}


@pytest.mark.parametrize("text", ["[", "kind: PyTorchJob", "kind: TFJob\nspec: {pytorchReplicaSpecs: {}}"])
def test_a_template_of_another_kind_is_named(text: str, tmp_path: Path) -> None:
    (tmp_path / "pytorch-training-job.yaml").write_text(text)
    with pytest.raises(BadInput, match=r"pytorch-training-job\.yaml"):
        pod_of(tmp_path, framework("pytorch"))


def test_an_edited_template_is_read_again(tmp_path: Path) -> None:
    document = yaml.safe_load((TEMPLATES / "pytorch-training-job.yaml").read_text())
    path = tmp_path / "pytorch-training-job.yaml"
    path.write_text(yaml.safe_dump(document))
    kind = framework("pytorch")
    assert "nodeSelector" not in pod_of(tmp_path, kind)["spec"]
    replicas = document["spec"][kind.replicas]
    for replica in replicas.values():
        replica["template"]["spec"]["nodeSelector"] = {"disk": "fast"}
    path.write_text(yaml.safe_dump(document, indent=4))
    assert pod_of(tmp_path, kind)["spec"]["nodeSelector"] == {"disk": "fast"}


def test_what_a_job_says_stands_above() -> None:
    base = {"volumes": [{"name": "a", "emptyDir": {}}], "limits": {"cpu": "4", "memory": "8Gi"}, "tolerations": [1]}
    merged = under(base, {"volumes": [{"name": "b", "emptyDir": {}}], "limits": {"cpu": "1"}})
    assert [each["name"] for each in merged["volumes"]] == ["a", "b"]
    assert merged["limits"] == {"cpu": "1"}
    assert merged["tolerations"] == [1]
