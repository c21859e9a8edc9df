"""Every image of ours: several stages, not root, requirements by hash, and the versions that versions.yaml names."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.manifests.objects import ROOT
from tests.manifests.versions import versions

FOLDERS = sorted(path.parent for path in (ROOT / "infrastructure/images").glob("*/Dockerfile"))
OURS = {entry["built"]: entry for entry in versions()["images"] if "built" in entry}
BASES = dict.fromkeys(("training-pytorch", "training-tensorflow"), "localhost/maestro-ml/training:0.1.0")
"""Images that stand on another of ours, itself slim."""
UPSTREAM = {"mlflow": "mlflow", "feast": "feast", "airflow": "apache-airflow"}


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda path: path.name)
def test_a_dockerfile_is_slim_and_not_root(folder: Path) -> None:
    text = (folder / "Dockerfile").read_text()
    stages = re.split(r"(?m)^FROM ", text)[1:]
    assert len(stages) == 2
    bases = {stage.split()[0] for stage in stages}
    assert bases == {BASES.get(folder.name, "docker.io/library/python:3.13-slim")}
    assert re.search(r"(?m)^USER 10001:10001$", stages[-1])
    assert "pip install" not in stages[-1]
    assert "--require-hashes" in stages[0]
    assert re.search(r"(?m)^(HEALTHCHECK|CMD) ", stages[-1])
    assert not re.search(r"(?m)^ADD |\bcurl\b|\bwget\b|(?i:password|secret)=", text)
    entry = OURS[folder.relative_to(ROOT).as_posix()]
    assert f"{entry['name']}:{entry['tag']}" in text, "the build line names another image"


@pytest.mark.parametrize(
    "path",
    sorted((ROOT / "infrastructure/images").glob("*/requirements*.txt")),
    ids=lambda path: f"{path.parent.name}/{path.stem}",
)
def test_every_requirement_has_its_hashes(path: Path) -> None:
    text = path.read_text()
    pinned = re.findall(r"(?m)^([A-Za-z0-9_.\[\],-]+)==(\S+)", text)
    assert len(pinned) > 5
    assert len(re.findall(r"(?m)^\S", text)) == len(pinned), "a line that is no pin"
    blocks = re.split(r"(?m)^(?=[A-Za-z0-9])", text)[1:]
    assert all("--hash=sha256:" in block for block in blocks)


@pytest.mark.parametrize(("name", "package"), sorted(UPSTREAM.items()))
def test_an_image_holds_the_version_of_its_tag(name: str, package: str) -> None:
    text = (ROOT / "infrastructure/images" / name / "requirements.txt").read_text()
    tag = OURS[f"infrastructure/images/{name}"]["tag"]
    assert re.search(rf"(?m)^{package}(\[[^\]]*\])?=={re.escape(tag)}\b", text)


def test_the_model_server_carries_no_web_of_training() -> None:
    text = (ROOT / "infrastructure/images/model-server/requirements.txt").read_text()
    names = set(re.findall(r"(?m)^([A-Za-z0-9_.-]+)", text))
    assert names & {"mlflow", "sqlalchemy", "optuna", "feast", "evidently"} == set()


PROGRAMS = {
    "control-plane": ["maestro.api.app", "maestro.lifecycle.traffic", "maestro.serving.targets.follow", "maestro.operations.backup"],
    "worker": ["maestro.lifecycle.worker", "maestro.governance.control", "maestro.serving.targets", "maestro.serving.sources",
               "maestro.clients.kubernetes.connection", "kubernetes", "maestro.training.backends.kubeflow"],
    "model-server": ["maestro.serving.main", "maestro.serving.app", "maestro.serving.engine.single", "maestro.serving.engine.parent",
                     "maestro.serving.sample", "maestro.serving.policies", "maestro.serving.graph.remote", "maestro.cli.main"],
    "training": ["maestro.training.child", "maestro.training.models", "maestro.training.models.boosters"],
}  # fmt: skip
"""What each image runs, and what that imports when it is used."""

ONLY = """
import importlib.abc, importlib.metadata, re, sys, warnings
warnings.simplefilter("ignore")
def plain(name): return re.sub(r"[-_.]+", "-", name).lower()
there = {plain(re.split(r"[\\[=]", line)[0]) for line in open(sys.argv[1]) if "==" in line} | {"maestro-ml"}
of = {}
for found in importlib.metadata.distributions():
    name = plain(found.metadata["Name"])
    tops = {re.split("[/,]", line, maxsplit=1)[0].removesuffix(".py") for line in (found.read_text("RECORD") or "").splitlines()}
    for top in tops:
        of.setdefault(top, set()).add(name)
class Absent(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if of.get(name) and not of[name] & there:
            raise ModuleNotFoundError(f"the image has no {name}", name=name)
sys.meta_path.insert(0, Absent())
for name in sys.argv[2:]:
    __import__(name)
"""


@pytest.mark.parametrize("name", PROGRAMS)
def test_an_image_holds_every_library_that_its_program_imports(name: str) -> None:
    requirements = ROOT / "infrastructure/images" / name / "requirements.txt"
    done = subprocess.run(
        [sys.executable, "-c", ONLY, str(requirements), *PROGRAMS[name]],
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-600:]
