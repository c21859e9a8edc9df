"""The Job that predicts for a table: as many pods as shares, whatever number of shares someone writes."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize(("folder", "file"), [
    ("serving/batch", "serving/batch/batch-prediction.yaml"),
    ("infrastructure/minikube/batch", "infrastructure/minikube/batch/kustomization.yaml"),
])  # fmt: skip
@pytest.mark.parametrize("shares", [1, 7])
def test_every_share_has_its_pod(tmp_path: Path, folder: str, file: str, shares: int) -> None:
    for name in ("serving/batch", "infrastructure/minikube/batch"):
        shutil.copytree(ROOT / name, tmp_path / name)
    path = tmp_path / file
    before = path.read_text()
    number = '"4"' if folder == "serving/batch" else '"2"'
    assert before.count(number) == 1, "there is one place to write it"
    path.write_text(before.replace(number, f'"{shares}"'))
    built = subprocess.run(
        ["kubectl", "kustomize", str(tmp_path / folder)], capture_output=True, text=True, timeout=60, check=True
    )
    found = {document["kind"]: document for document in yaml.safe_load_all(built.stdout)}
    assert found["ConfigMap"]["data"]["SHARES"] == str(shares)
    assert found["Job"]["spec"]["completions"] == shares
