"""`maestro demo` as a user runs it, once; what its report says of each step."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from maestro.clients.home import Home
from tests.e2e.running import ROOT, descendants, maestro, memory_bytes

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]

TITLES = (
    "Services", "Features", "Train", "Tune", "Register", "Lineage", "Gates and approval", "Canary that earns its promotion",
    "Bad releases", "Drift", "SLA and cost", "Replay",
)  # fmt: skip
MEMORY_BYTES = 3 * 2**30


@dataclass(frozen=True)
class Story:
    """What one run left."""

    code: int
    printed: dict[str, Any]
    result: dict[str, Any]
    page: str
    folder: Path
    home: Home
    seconds: float
    memory: int
    left_over: set[int]

    def row(self, number: int) -> dict[str, Any]:
        """A step's row, which has to be there and as expected."""
        rows = {row["number"]: row for row in self.result["rows"]}
        assert number in rows, f"the story ended before step {number}: {self.result['rows'][-1]['result']}"
        row: dict[str, Any] = rows[number]
        assert row["expected"] is True, row["result"]
        assert row["title"] == TITLES[number]
        return row

    def section(self, number: int) -> str:
        """A step's part of the page."""
        begin = self.page.index(f'<h2 id="step-{number}">')
        end = self.page.find("<h2 id=", begin + 1)
        return self.page[begin:end]


@pytest.fixture(scope="session")
def story(tmp_path_factory: pytest.TempPathFactory) -> Story:
    """The run. What goes beyond this machine would go to a proxy that is not there."""
    base = tmp_path_factory.mktemp("story")
    folder = base / "report"
    nowhere = "http://127.0.0.1:9"
    env = {name: value for name, value in os.environ.items() if not name.startswith("MAESTRO_")} | {
        "MAESTRO_HOME": str(base / "home"), "HTTP_PROXY": nowhere, "HTTPS_PROXY": nowhere, "http_proxy": nowhere, "https_proxy": nowhere,
        "NO_PROXY": "127.0.0.1,localhost", "no_proxy": "127.0.0.1,localhost",
    }  # fmt: skip
    began = time.monotonic()
    argv = [sys.executable, "-m", "maestro", "demo", "--json", "--report", str(folder)]
    memory, seen = 0, set[int]()
    with (base / "out").open("w+") as out, (base / "err").open("w+") as err:
        process = subprocess.Popen(argv, stdout=out, stderr=err, env=env, cwd=ROOT)
        try:
            while process.poll() is None:
                family = {process.pid} | descendants(process.pid)
                seen |= family
                memory = max(memory, memory_bytes(family))
                time.sleep(2.0)
        finally:
            process.terminate()
            code = process.wait(60)
    seconds = time.monotonic() - began
    said = (base / "out").read_text()
    assert (folder / "result.json").exists(), said + (base / "err").read_text()[-2000:]
    return Story(
        code, json.loads(said), json.loads((folder / "result.json").read_text()), (folder / "index.html").read_text(), folder,
        Home(base / "home" / "demo"), seconds, memory, {pid for pid in seen if _is_ours(pid, base)},
    )  # fmt: skip


def _is_ours(pid: int, base: Path) -> bool:
    """Whether a process is still there and still one of the story's."""
    try:
        return str(base).encode() in Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return False


def test_every_step_ends_as_expected(story: Story) -> None:
    rows = story.result["rows"]
    assert [row["title"] for row in rows if not row["expected"]] == [], rows[-1]["result"]
    assert tuple(row["title"] for row in rows) == TITLES
    assert story.result["as_expected"] is True
    assert story.printed["as_expected"] is True
    assert [step["title"] for step in story.printed["steps"]] == list(TITLES)
    assert story.code == 0


def test_nothing_it_started_outlives_it(story: Story) -> None:
    assert story.left_over == set()
    assert story.home.read_state() is None


def test_the_page_needs_nothing_beside_itself(story: Story) -> None:
    assert story.page.startswith("<!doctype html>")
    assert "every verdict was the expected one" in story.page
    for outside in ('src="http', "@import", "<script src", '<link rel="stylesheet"'):
        assert outside not in story.page
    assert story.page.count("<svg") >= 5
    for number, title in enumerate(TITLES):
        assert title in story.page, number


def test_it_holds_at_most_three_gigabytes(story: Story) -> None:
    assert 200 * 2**20 < story.memory <= MEMORY_BYTES


@pytest.mark.shows("A1", "A2", "A3", "A4", env="laptop")
def test_features_are_joined_and_served(story: Story) -> None:
    row = story.row(1)
    assert row["facts"]["rows"] == 569 + 1797 + 20190
    assert 0 < row["facts"]["frame"] <= 20190
    assert "read online" in row["result"]
    for dataset in ("tumour", "digits", "visits"):
        assert f"<td>{dataset}</td>" in story.section(1)
        versions = [path.name for path in (story.home.data / dataset).iterdir() if path.is_dir()]
        assert versions


@pytest.mark.shows("A5", "A7", "A8", "D1", "D3", env="laptop")
def test_jobs_are_queued_by_priority_and_tracked(story: Story) -> None:
    row = story.row(2)
    f1 = row["facts"]["f1"]
    assert set(f1) == {"baseline", "leaky", "narrow", "unreviewed", "better"}
    assert f1["better"] > f1["baseline"] > 0.3
    assert f1["leaky"] > f1["baseline"], "the leak looks good offline"
    assert row["where"].startswith("http://127.0.0.1:")
    order = [story.section(2).index(f"<td>{name}</td>") for name in ("better", "narrow", "unreviewed")]
    assert order[0] < min(order[1:]), "the urgent job overtook those that waited"


def test_a_study_is_stopped_resumed_and_recorded(story: Story) -> None:
    row = story.row(3)
    assert row["facts"]["trials"] == 10
    assert row["facts"]["best"]["values"]["accuracy"] > 0.85
    assert story.section(3).count("<svg") == 2


@pytest.mark.shows("D6", "D16", env="laptop")
def test_versions_are_semantic_and_signed(story: Story) -> None:
    versions = story.row(4)["facts"]["versions"]
    assert len(set(versions.values())) == 5
    for version in versions.values():
        assert all(part.isdigit() for part in version.split("."))
        folder = story.home.version("visits", version)
        assert {"manifest.json", "provenance.json"} <= {path.name for path in folder.iterdir()}
    assert "MISMATCH" not in story.section(4)
    assert story.section(4).count("<td>verified</td>") == 5


@pytest.mark.shows("D10", "D11", "D12", "D13", "D15", "D16", env="laptop")
def test_lineage_is_drawn(story: Story) -> None:
    row = story.row(5)
    assert row["facts"]["nodes"] >= 4
    assert row["facts"]["events"] >= 2
    assert "<svg" in story.section(5)


@pytest.mark.shows("D8", "E1", "E2", "E5", env="laptop")
def test_only_somebody_else_approves(story: Story) -> None:
    row = story.row(6)
    section = story.section(6)
    assert row["facts"]["audit"]["ok"] is True
    assert row["facts"]["audit"]["report"]["entries"] > 0
    assert section.count("<td>refused: ") == 3
    assert section.count("<td>passed</td>") >= 4
    assert "<td>failed</td>" not in section


@pytest.mark.shows("D14", "E6", "E7", "F2", "F3", "F7", "H9", env="laptop")
def test_a_better_version_earns_its_promotion(story: Story) -> None:
    row = story.row(7)
    facts = row["facts"]
    assert facts["failed"] == 0
    assert facts["requests"] >= facts["entities"] > 1000
    assert facts["labels"] > 0
    assert [rung["weight"] for rung in facts["plan"]["rungs"]] == [1, 10, 50, 100]
    assert "distinct entities" in row["result"]
    section = story.section(7)
    assert "<td>promote</td>" in section
    assert "<td>roll_back</td>" not in section
    for metric in ("errors", "slow", "quality"):
        assert f"<td>{metric}</td>" in section


@pytest.mark.shows("D9", "F4", "F7", "F10", "H9", env="laptop")
def test_bad_versions_are_rolled_back_on_evidence(story: Story) -> None:
    row = story.row(8)
    facts = row["facts"]
    assert facts["worse"]["metric"] == "quality"
    assert facts["erring"]["metric"] == "errors"
    assert facts["worse"]["failures"] == facts["erring"]["failures"] == []
    assert facts["erring"]["fallbacks"] > 0, "callers of the erring version were answered by the champion"
    assert row["result"].count("rolled back") == 2
    assert "tolerated" in row["result"]
    section = story.section(8)
    assert section.count("<td>roll_back</td>") >= 2
    assert section.count("<td>refused: ") == 2


@pytest.mark.shows("I1", "I2", "I3", "I6", "I7", env="laptop")
def test_a_real_shift_is_found_and_the_control_is_silent(story: Story) -> None:
    row = story.row(9)
    assert row["facts"]["drifted"] == ["disea", "lncoins"]
    assert row["facts"]["alerts"] >= 1
    section = story.section(9)
    assert section.count("<td>drift</td>") == 2
    report = story.folder / "drift.html"
    assert 'href="drift.html"' in section
    assert report.stat().st_size > 100_000


@pytest.mark.shows("I10", "L4", "L5", "L7", env="laptop")
def test_the_report_is_computed_and_the_parts_add_up(story: Story) -> None:
    row = story.row(10)
    assert row["facts"]["sla"] in {"compliant", "breached", "unknown"}
    assert row["facts"]["requests"] > 1000
    assert row["facts"]["bill_usd_micros"] > 0
    for word in ("p95", "p99", "error rate", "parts add up"):
        assert word in row["result"]


@pytest.mark.shows("E5", "D16", env="laptop")
def test_every_decision_replays_and_the_audit_log_is_sound(story: Story) -> None:
    assert story.row(11)["facts"]["decisions"] > 10
    told = story.row(11)["result"]
    count = story.row(11)["facts"]["decisions"]
    assert told.startswith(f"{count} of {count} decisions came out the same")
    verified = maestro(story.home.root, "audit", "verify", "--json")
    assert verified.code == 0, verified.text()
    assert verified.json()["ok"] is True
