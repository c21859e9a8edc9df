"""`make demo-cluster` as a user runs it, and `make demo` beside it: the same story, the same event log."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from maestro.clients.kubernetes.objects import Cluster, Ref
from tests.cluster.platform_stage import ROOT
from tests.node.installation import Installation

pytestmark = [pytest.mark.node, pytest.mark.timeout(3000)]


@dataclass(frozen=True)
class Story:
    """What one run left."""

    code: int
    result: dict[str, Any]
    page: str
    said: str

    def row(self, title: str) -> dict[str, Any]:
        """A step's row, which has to be there and as expected."""
        rows = {row["title"]: row for row in self.result["rows"]}
        assert title in rows, f"the story ended before {title}: {self.result['rows'][-1]['result']}"
        row: dict[str, Any] = rows[title]
        assert row["expected"] is True, row["result"]
        return row


def told(folder: Path, *words: str) -> Story:
    """The story, in a home of its own."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("MAESTRO_")}
    report = folder / "report"
    done = subprocess.run(
        [sys.executable, "-m", "maestro", "demo", "--json", "--report", str(report), *words], capture_output=True, text=True,
        timeout=1800, check=False, cwd=ROOT, env=env | {"MAESTRO_HOME": str(folder / "home")},
    )  # fmt: skip
    said = done.stdout + done.stderr[-2000:]
    assert (report / "result.json").exists(), said
    page = (report / "index.html").read_text()
    return Story(done.returncode, json.loads((report / "result.json").read_text()), page, said)


@pytest.fixture(scope="module")
def story(installed: Installation, tmp_path_factory: pytest.TempPathFactory) -> Story:
    """On the cluster; what its router served before, it serves afterwards."""
    found = told(tmp_path_factory.mktemp("cluster"), "--cluster", "--replace")
    print(
        json.dumps({row["title"]: [round(row["seconds"], 1), row["result"]] for row in found.result["rows"]}, indent=1)
    )
    return found


@pytest.mark.door
def test_every_step_ends_as_expected(story: Story) -> None:
    assert [(row["title"], row["result"]) for row in story.result["rows"] if not row["expected"]] == []
    assert story.result["as_expected"] is True, story.said
    assert story.code == 0
    assert "the lifecycle on a Kubernetes cluster" in story.page


@pytest.mark.door
@pytest.mark.shows("A1", "A2", "A3", "A4", "A5", env="cluster")
def test_features_are_defined_joined_and_read_in_the_cluster(story: Story) -> None:
    row = story.row("Features")
    assert row["facts"]["rows"] == 569 + 1797 + 20190
    assert row["facts"]["frame"] == 20190
    f1 = story.row("Train")["facts"]["f1"]
    assert f1["better"] > f1["baseline"] > 0.3
    assert f1["leaky"] > f1["baseline"]


@pytest.mark.door
@pytest.mark.shows("B1", "B11", "D1", env="cluster")
def test_the_operator_trained_a_job(story: Story) -> None:
    assert story.row("A job of the training operator")["facts"]["accuracy"] > 0.9


@pytest.mark.door
@pytest.mark.shows("C1", "C2", env="cluster")
def test_a_study_is_stopped_and_resumed(story: Story) -> None:
    assert story.row("Tune")["facts"]["trials"] == 10


@pytest.mark.door
@pytest.mark.shows("D6", "D8", "D10", "D11", "D12", "D13", "D16", "E1", "E2", "E5", env="cluster")
def test_versions_are_signed_traced_and_approved_by_somebody_else(story: Story) -> None:
    assert len(set(story.row("Register")["facts"]["versions"].values())) == 5
    assert "MISMATCH" not in story.page
    assert story.row("Lineage")["facts"]["nodes"] >= 4
    assert story.row("Gates and approval")["facts"]["audit"]["ok"] is True


@pytest.mark.door
@pytest.mark.shows("D14", "E6", "E7", "F2", "F3", "F7", "F8", "H1", "H2", "H9", env="cluster")
def test_a_canary_earns_its_promotion_and_no_request_fails(story: Story) -> None:
    facts = story.row("Canary that earns its promotion")["facts"]
    assert facts["failed"] == 0
    assert facts["requests"] >= facts["entities"] > 1000
    assert facts["labels"] > 0


@pytest.mark.door
@pytest.mark.shows("D9", "F4", "F7", "H9", env="cluster")
def test_bad_releases_go_back_and_no_request_fails(story: Story) -> None:
    facts = story.row("Bad releases")["facts"]
    assert (facts["worse"]["metric"], facts["erring"]["metric"]) == ("quality", "errors")
    assert facts["worse"]["failures"] == facts["erring"]["failures"] == []


@pytest.mark.door
@pytest.mark.shows("F10", "G11", "L8", "L15", env="cluster")
def test_killed_pods_lose_nothing(story: Story) -> None:
    facts = story.row("Pods killed in mid-rollout")["facts"]
    assert facts["without_database"] == 0
    assert facts["status"] == "promoted"
    assert min(facts["database_s"], facts["server_s"]) > 0.5, (
        "no container starts faster: the killed pod was taken for its successor"
    )


@pytest.mark.door
@pytest.mark.shows("H1", "H2", "H3", env="cluster")
def test_the_split_is_edited_by_hand(story: Story) -> None:
    facts = story.row("The split edited by hand")["facts"]
    assert facts["failed"] == 0
    assert facts["seconds"] < 5


@pytest.mark.door
@pytest.mark.shows("I1", "I2", "I6", "L4", "L5", "L7", env="cluster")
def test_drift_cost_and_replay(story: Story) -> None:
    assert story.row("Drift")["facts"]["drifted"] == ["disea", "lncoins"]
    assert story.row("SLA and cost")["facts"]["bill_usd_micros"] > 0
    assert story.row("Replay")["facts"]["decisions"] > 10


@pytest.mark.door
@pytest.mark.shows("L9", "L10", env="cluster")
def test_a_backup_is_restored_in_time(story: Story) -> None:
    facts = story.row("Backup and restore")["facts"]
    assert facts["rows"]["ai_training_jobs"] > 0
    assert facts["rpo_s"] < 3600
    assert facts["rto_s"] < 900


def test_the_cluster_is_left_as_it_was(node: Cluster, story: Story) -> None:
    pod = node.get(Ref("apps/v1", "Deployment", "control-plane-api", "ml-platform"))["spec"]["template"]["spec"]
    names = {one["name"] for one in pod["containers"][0]["env"]}
    assert not names & {"MAESTRO_METRIC_SOURCE", "MAESTRO_SERVER_URL"}
    graph = node.get(Ref("v1", "ConfigMap", "ab-test-config", "ml-serving"))["data"]["graph.yaml"]
    assert "visits-" not in graph


def test_the_event_log_is_that_of_a_laptop(story: Story, tmp_path: Path) -> None:
    """Each rollout's projection, versions standing by the job that made them. Whether a first look at a rung finds too little evidence, or is late enough
    to find enough, is a matter of milliseconds: what nobody could say yet is left out."""
    here = told(tmp_path)
    assert here.result["as_expected"] is True, here.said
    assert len(here.result["projections"]) == 4
    assert settled(story) == settled(here)


def settled(story: Story) -> list[list[Any]]:
    """Its projections without the looks that changed nothing."""
    return [[row for row in rollout if row[-1] != "keep_going"] for rollout in story.result["projections"]]
