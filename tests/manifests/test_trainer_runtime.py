"""The runtime that sets TF_CONFIG for TensorFlow under Kubeflow Trainer v2, run as Python runs it: at its start."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.manifests.objects import of_kind


def told(tmp_path: Path, **environment: str) -> str:
    """What a Python process finds in TF_CONFIG when it starts with our sitecustomize."""
    (config,) = [one for one in of_kind("ConfigMap") if one.name == "trainer-tensorflow"]
    (tmp_path / "sitecustomize.py").write_text(config.body["data"]["sitecustomize.py"])
    done = subprocess.run(
        [sys.executable, "-c", "import os; print(os.environ.get('TF_CONFIG', ''))"],
        capture_output=True, text=True, check=True, env={"PYTHONPATH": str(tmp_path), **environment},
    )  # fmt: skip
    return done.stdout.strip()


@pytest.mark.door
@pytest.mark.shows("B2", "B5", env="cluster", accepted="TensorFlow")
def test_every_node_is_told_all_workers_and_its_own_number(tmp_path: Path) -> None:
    first = "job-node-0-0.job"
    for rank in range(3):
        config = json.loads(told(tmp_path, PET_NNODES="3", PET_NODE_RANK=str(rank), PET_MASTER_ADDR=first))
        assert config == {
            "cluster": {"worker": [f"job-node-0-{number}.job:2222" for number in range(3)]},
            "task": {"type": "worker", "index": rank},
        }


def test_one_that_is_set_stays_and_without_trainer_none_is_made(tmp_path: Path) -> None:
    assert told(tmp_path, TF_CONFIG="mine", PET_NNODES="1", PET_NODE_RANK="0", PET_MASTER_ADDR="a-0.a") == "mine"
    assert told(tmp_path) == ""
