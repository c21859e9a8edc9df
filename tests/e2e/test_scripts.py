"""Every promised script with the flags that users were given, and the commands, against what `maestro up` left running."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.e2e.running import ROOT, Running, call, maestro

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]

MODEL = "visits"


def only_run(running: Running) -> str:
    """The MLflow run of the first model."""
    run_id: str = running.json("versions", "list", "--model", MODEL)["items"][-1]["run_id"]
    return run_id


@pytest.mark.shows("D10", "D14", "D15", "D16", env="laptop")
def test_lineage_tracker(running: Running, tmp_path: Path) -> None:
    script, run_id = "governance/lineage-tracker.py", only_run(running)
    assert running.script(script, "track").out.startswith("recorded:")
    tree = running.script(script, "get", "--run-id", run_id).out
    kinds = [line.lstrip(" └─├│").split(" ")[0] for line in tree.splitlines()]
    assert kinds == ["data", "features", "run", "version", "deployment"]
    assert f"{MODEL}@1.0.0" in tree
    events = json.loads(running.script(script, "get", "--run-id", run_id, "--events").out)
    assert {event["eventType"] for event in events} >= {"COMPLETE"}
    drawn = running.script(script, "visualize", "--run-id", run_id)
    page = running.home.root / "lineage" / f"{run_id}.html"
    assert str(page) in drawn.out
    assert "<svg" in page.read_text()
    graph = json.loads(running.script(script, "get", "--run-id", run_id, "--json").out)
    assert {node["kind"] for node in graph["nodes"]} == {"data", "features", "run", "version", "deployment"}
    running.script(script, "visualize", "--run-id", run_id, "--output", str(tmp_path / "lineage.svg"))
    assert (tmp_path / "lineage.svg").read_text().startswith("<svg")


@pytest.mark.shows("E1", "E2", env="laptop")
def test_approval_workflow(running: Running) -> None:
    script = "governance/approval-workflow.py"
    done = running.script(script, "submit", "--model-name", MODEL, "--model-version", "1", actor="submitter")
    assert f"{MODEL}@1.0.0 is pending" in done.out
    asked = json.loads(running.script(script, "list", "--status", "pending", "--json").out)["items"][0]
    assert running.json("approval", "approve", asked["id"], actor="submitter", expect=4)["status"] == 403
    answered = json.loads(running.script(script, "approve", asked["id"], "--json", actor="reviewer").out)
    assert answered["status"] == "approved"
    assert answered["decided_by"] == "human:reviewer"


@pytest.mark.shows("D6", "D8", "E3", "E4", env="laptop")
def test_version_management_and_deployment_automation(running: Running) -> None:
    listed = json.loads(running.script("governance/version-management.py", "list", "--json").out)
    assert [(item["version"], item["stage"]) for item in listed["items"]][-1] == ("1.0.0", "production")
    shown = running.script("governance/version-management.py", "show", "--model-name", MODEL, "--model-version", "1")
    assert "sha256:" in shown.out
    rollouts = json.loads(running.script("governance/deployment-automation.py", "list", "--json").out)
    assert rollouts["items"][-1]["status"] == "promoted"


@pytest.mark.shows("A1", "A4", "G1", env="laptop")
def test_the_model_is_asked_as_the_quick_start_says(running: Running) -> None:
    url = running.exports["MAESTRO_SERVER_URL"]
    columns = [each["name"] for each in httpx.get(f"{url}/v2/models/{MODEL}").json()["inputs"]]
    for body in ({"entities": [{"person_id": 7}]}, {"instances": [list(range(len(columns)))]}):
        answer = httpx.post(f"{url}/predict", json=body)
        assert answer.status_code == 200, answer.text
        assert answer.json()["predictions"] in ([0], [1])
    assert httpx.post(f"{url}/labels", json={}).status_code == 401


OPTUNA: dict[str, list[str]] = {
    "optuna-study-example.py": ["--study-name", "S", "--experiment-name", "E", "--n-trials", "2"],
    "cost-aware-optimizer.py": ["--study-name", "S-aware", "--cost-weight", "0.3", "--time-budget", "300", "--n-trials", "2"],
    "multi-objective-tuning.py": ["--study-name", "S-several", "--selection-strategy", "balanced", "--n-trials", "2"],
}  # fmt: skip


@pytest.mark.shows("C3", "C4", "C5", "C6", "C10", env="laptop")
@pytest.mark.parametrize("script", OPTUNA)
def test_optuna_scripts(running: Running, script: str, tmp_path: Path) -> None:
    page = tmp_path / "study.html"
    done = running.script(f"training/optuna/{script}", *OPTUNA[script], "--html", str(page), "--json")
    result = json.loads(done.out)
    assert result["complete"] + result["pruned"] == 2
    assert page.read_text().startswith("<!doctype html>")
    if script.startswith("cost"):
        assert result["cost_reference_s"] > 0
    if script.startswith("multi"):
        assert set(result["best"]["values"]) == {"accuracy", "f1"}
    study = OPTUNA[script][1]
    assert study in {item["name"] for item in running.json("tune", "list")}
    shown = running.json("tune", "show", study)
    assert len(shown["trials"]) == 2
    run = running.json("experiments", "show", result["run_id"])
    assert run["id"] == result["run_id"]


@pytest.fixture(scope="session")
def tables(running: Running, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Callers of the model as they were, another half of them, and that half with one column moved."""
    import pandas as pd

    features = pd.concat(
        pd.read_parquet(path) for path in sorted((running.home.data / MODEL).glob("*/coverage*.parquet"))[:1]
    )
    numbers = features[["disea", "lncoins", "idp"]].sample(frac=1.0, random_state=3)
    half = len(numbers) // 2
    moved = numbers.iloc[half:].copy()
    moved["disea"] = moved["disea"] + moved["disea"].std()
    folder = tmp_path_factory.mktemp("tables")
    made = {"a": numbers.iloc[:half], "b": moved, "same": numbers.iloc[half:]}
    for name, table in made.items():
        table.to_parquet(folder / f"{name}.parquet", index=False)
    (folder / "text.parquet").write_text("this is no Parquet file")
    return {name: folder / f"{name}.parquet" for name in (*made, "text")}


def drift(tables: dict[str, Path], current: str) -> list[str]:
    """The flags of contract and documents."""
    return [
        "--reference-data", str(tables["a"]), "--current-data", str(tables[current]), "--drift-threshold", "0.05", "--alert-threshold", "0.3",
        "--log-mlflow",
    ]  # fmt: skip


@pytest.mark.shows("A11", "I1", "I2", "I3", "I6", "I7", env="laptop")
def test_data_drift_monitor(running: Running, tables: dict[str, Path]) -> None:
    script = "monitoring/drift/data-drift-monitor.py"
    found = json.loads(running.script(script, *drift(tables, "b"), "--json", expect=1).out)
    assert [column["column"] for column in found["verdict"]["columns"] if column["drift"]] == ["disea"]
    assert found["alerts"]
    assert Path(found["html"]).stat().st_size > 100_000
    run = running.json("experiments", "show", found["mlflow_run_id"])
    assert run["id"] == found["mlflow_run_id"]
    assert "drift" in running.script(script, *drift(tables, "b"), "--no-html", expect=1).out
    calm = json.loads(running.script(script, *drift(tables, "same"), "--no-html", "--json").out)
    assert calm["drift"] is False
    assert calm["alerts"] == []
    assert running.json("drift", "list")["total"] == 3


@pytest.mark.shows("L7", "I10", env="laptop")
def test_sla_monitor(running: Running) -> None:
    for row in range(20):
        running.server().post("/predict", {"model": MODEL, "entities": [{"person_id": row + 1}]})
    code = {"compliant": 0, "breached": 1, "unknown": 1}
    done = call([sys.executable, "operations/sla-monitor.py"], running.exports)
    assert done.code in {0, 1}, done.text()
    assert "availability" in done.out
    report = maestro(running.home.root, "sla", "report", "--json")
    found = report.json()
    assert report.code == code[found["verdict"]]
    assert found["requests"] >= 20
    assert found["compliant"] is (found["verdict"] == "compliant")
    program = 'from operations.sla_monitor import SLAMonitor; print(SLAMonitor().generate_report()["compliant"] in {True, False})'
    imported = call([sys.executable, "-c", program], running.exports)
    assert (imported.code, imported.out.strip()) == (0, "True"), imported.text()


@pytest.mark.shows("A1", "A4", "D1", "D17", env="laptop")
def test_commands_print_one_document(running: Running) -> None:
    documents: dict[str, Any] = {
        words: running.json(*words.split())
        for words in (
            "train list", "train stats", "experiments list", "versions aliases --model visits", "versions rollback-list --model visits",
            "deploy list", "decisions list --page-size 5", "audit list", "cost rates", "cost report", "features list",
            "features get visits_v1 --entity person_id=7", "lineage get --model visits", "approval list", "keys list",
        )
    }  # fmt: skip
    assert documents["train list"]["items"][-1]["status"] == "completed"
    assert documents["train stats"]["by_status"]["completed"] >= 1
    assert documents["versions aliases --model visits"]["aliases"]["production"] == "1"
    assert documents["decisions list --page-size 5"]["page_size"] == 5
    assert documents["features get visits_v1 --entity person_id=7"]["rows"][0]["lncoins"] is not None
    names = {entry["principal"]["name"] for entry in documents["keys list"]["principals"]}
    assert names >= {"user", "submitter", "reviewer", "service", "agent"}


@pytest.mark.shows("L4", "L5", env="laptop")
def test_the_cost_report_adds_up(running: Running) -> None:
    found = running.json("cost", "report")
    assert found["used_usd_micros"] + found["idle_usd_micros"] == found["bill_usd_micros"]
    assert sum(group["bill_usd_micros"] for group in found["by_kind"]) == found["bill_usd_micros"]
    assert {group["name"] for group in found["by_kind"]} >= {"serving", "training"}
    assert found["rates"]["cpu_core_hour"] == 0.05


@pytest.mark.shows("E5", "D16", env="laptop")
def test_the_log_is_sound_and_decisions_replay(running: Running) -> None:
    verified = running.json("audit", "verify")
    assert verified["ok"] is True
    assert verified["entries"] >= 10
    assert "sound" in running.call("audit", "verify").out
    replayed = running.json("decisions", "replay", "--all")
    assert replayed["ok"] is True
    assert replayed["count"] == running.json("decisions", "list", "--page-size", "1")["total"]


MISTAKES = (
    ("versions show --model nope --version 1.0.0", "nope"),
    ("approval submit --model-name nope --model-version 1", "nope"),
    ("deploy start --model nope --version 1", "nope"),
    ("deploy start --model visits --version 9.9.9", "9.9.9"),
    ("deploy start --model visits --version 1 --strategy sideways --policy demo", "sideways"),
    ("deploy start --model visits --version 1 --policy nope", "nope"),
    ("deploy follow ro-none", "ro-none"),
    ("lineage get --run-id 0000", "0000"),
    ("lineage visualize --run-id 0000", "0000"),
    ("experiments show 0000", "0000"),
    ("train show job-none", "job-none"),
    ("train submit --features nothing_v1", "nothing_v1"),
    ("train submit --features visits_v1 --model-type cats", "cats"),
    ("features get nothing_v1 --entity person_id=7", "nothing_v1"),
    ("decisions show 0123456789", "0123456789"),
    ("sla report --window soon", "soon"),
    ("cost report --no-such-flag", "--no-such-flag"),
    ("drift run --current-data /nowhere.parquet --reference-data /nowhere.parquet", "/nowhere.parquet"),
)


@pytest.mark.parametrize(("words", "named"), MISTAKES)
def test_a_mistake_is_named_and_is_exit_2(running: Running, words: str, named: str) -> None:
    problem = running.json(*words.split(), expect=2)
    assert named in problem["detail"]
    assert problem["type"].startswith("urn:maestro:problem:")
    assert 400 <= problem["status"] < 500


@pytest.mark.shows("N5", env="laptop")
def test_a_policy_with_a_typo_names_the_field(running: Running, tmp_path: Path) -> None:
    policy = tmp_path / "policy.yaml"
    policy.write_text((ROOT / "governance/policies/demo.yaml").read_text().replace("margin: 0.02", "magrin: 0.02"))
    problem = running.json("deploy", "start", "--model", MODEL, "--version", "1", "--policy", str(policy), expect=2)
    assert "metrics.0" in problem["detail"]
    assert "magrin" in problem["detail"]


def test_a_parquet_that_is_none_is_named(running: Running, tables: dict[str, Path]) -> None:
    problem = running.json("drift", "run", *drift(tables, "text"), expect=2)
    assert "text.parquet" in problem["detail"]
    request = tables["a"].parent / "job.yaml"
    request.write_text(
        json.dumps({"name": "broken", "data": {"feature_service": "visits_v1", "entities": str(tables["text"])}})
    )
    job = running.json("train", "submit", "--file", str(request), "--wait", expect=1)
    assert job["status"] == "failed"
    assert "text.parquet" in job["error"]["detail"]
    assert job["attempt"] == 1, "no retry repairs a wrong file"


def test_without_services_every_command_names_make_up(tmp_path: Path) -> None:
    for words in ("env", "train list", "versions list", "deploy list", "experiments list"):
        done = maestro(tmp_path / "empty", *words.split(), "--json")
        assert done.code == 3, done.text()
        assert "make up" in done.json()["remedy"]
