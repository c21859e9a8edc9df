"""A version is prepared once, in a process of its own; what answers afterwards is light, quick and the original's equal."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from maestro.serving.contract import Validator
from maestro.serving.runtimes import ModelFailed, Runtimes
from maestro.serving.runtimes.plan import PLAN, PlanStore, runtime_versions
from maestro.serving.table import Batch, Table
from tests.serving.prepare.conftest import COLUMNS, Logged

WORKER = """
import json, sys, time
began = time.perf_counter()
from pathlib import Path
from maestro.core.contract import ModelContract
from maestro.serving.contract import Validator
from maestro.serving.runtimes import Runtimes
from maestro.serving.table import Table

files, plans = Path(sys.argv[1]), Path(sys.argv[2])
contract = ModelContract.model_validate_json((files / "contract.json").read_bytes())
runtime = Runtimes(plans=plans).make("onnx", files, contract)
runtime.load()
rows = json.loads(sys.argv[3])
answers = runtime.predict(Validator(contract).validate(Table(rows=rows)), 1.0).values
seconds = time.perf_counter() - began
pss = next(int(line.split()[1]) for line in open("/proc/self/smaps_rollup") if line.startswith("Pss:"))
print(json.dumps({"answers": answers, "seconds": seconds, "pss_mb": pss / 1024, "path": runtime.path, "modules": sorted(sys.modules)}))
"""


def batch_of(rows: np.ndarray) -> Batch:
    return Batch(tuple(f"x{i}" for i in range(COLUMNS)), ("float64",) * COLUMNS, len(rows), np.ascontiguousarray(rows))


def test_the_plan_tells_what_was_proven_on_what_and_why(logged: Logged, store: PlanStore) -> None:
    found = store.find(logged.digest)
    assert found is not None
    plan, folder = found
    assert plan.original.kind == "sklearn.StandardScaler → RandomForestClassifier"
    assert plan.proof.example_rows >= 1
    assert plan.proof.random_rows >= 1000
    assert plan.proof.boundary_rows >= 500
    assert plan.choices[0].rows == 1
    trees = plan.path("trees")
    assert trees.largest_difference == 0.0
    assert trees.tied_labels == 0
    assert set(trees.us) >= {1, 16, 256}
    assert plan.original.us[1] > 10 * trees.us[1]
    assert folder.stat().st_mode & 0o777 == 0o700
    assert "original's answers on" in plan.why


def test_what_answers_otherwise_is_refused_with_the_reason(logged: Logged, store: PlanStore) -> None:
    """The package's own ONNX file is another model's; rounding to single precision before the scaler moves values across thresholds."""
    found = store.find(logged.digest)
    assert found is not None
    reasons = {refused.name: refused.reason for refused in found[0].refused}
    assert "classes differ" in reasons["onnx (package)"]
    assert "differ" in reasons["onnx (double)"]
    assert found[0].path("onnx").origin == "double, single before trees"


def test_a_worker_answers_by_the_plan_without_the_libraries_of_training(
    logged: Logged, store: PlanStore, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = logged.rows[:40]
    started = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", WORKER, str(logged.folder / "files"), str(store.root), json.dumps(rows.tolist())],
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    took = time.perf_counter() - started
    told: dict[str, Any] = json.loads(done.stdout)
    assert told["answers"] == logged.own(rows)
    assert told["path"] != "original"
    roots = {name.split(".")[0] for name in told["modules"]}
    assert not roots & {"mlflow", "pandas", "sklearn", "skl2onnx", "onnx", "fastapi", "xgboost", "lightgbm", "scipy"}
    with capsys.disabled():
        print(f"\nby plan: first right answer {told['seconds']:.2f} s after the first import, process {took:.2f} s, PSS {told['pss_mb']:.0f} MB")  # fmt: skip
    assert told["pss_mb"] < 75


@pytest.mark.shows("G4", env="laptop")
def test_ten_thousand_predictions_a_second_each_in_under_ten_milliseconds(logged: Logged, store: PlanStore) -> None:
    """One at a time, by the validator and the runtime that a worker asks: what is between them and the wire is measured elsewhere."""
    runtime = Runtimes(plans=store.root).make("onnx", logged.folder / "files", logged.contract)
    runtime.load()
    validator = Validator(logged.contract)
    rows = [logged.rows[i : i + 1] for i in range(500)]
    taken = []
    for _ in range(3):  # another process may hold the core meanwhile: the best of three
        times = []
        for row in rows:
            began = time.perf_counter()
            runtime.predict(validator.validate(Table(matrix=row)), 1.0)
            times.append(time.perf_counter() - began)
        taken.append((sum(times), sorted(times)[int(0.99 * len(times))]))
    runtime.close()
    seconds, slowest = min(taken)
    assert slowest < 0.010
    assert len(rows) / seconds > 10_000


def test_the_plan_answers_like_the_model_alone_and_in_batches(logged: Logged, store: PlanStore) -> None:
    runtime = Runtimes(plans=store.root).make("onnx", logged.folder / "files", logged.contract)
    runtime.load()
    runtime.warm_up(batch_of(logged.rows[:1]))
    assert runtime.inline
    assert runtime.quick
    assert runtime.cost_us(1) < 1000
    own = logged.own(logged.rows)
    assert runtime.predict(batch_of(logged.rows), 1.0).values == own
    assert [runtime.predict(batch_of(logged.rows[i : i + 1]), 1.0).values[0] for i in range(50)] == own[:50]
    runtime.close()
    with pytest.raises(ModelFailed):
        runtime.predict(batch_of(logged.rows[:1]), 1.0)


def test_the_size_of_a_batch_decides_which_path_answers(logged: Logged, store: PlanStore, tmp_path: Path) -> None:
    other = PlanStore(tmp_path / "plans")
    shutil.copytree(store.root, other.root)
    other.root.chmod(0o700)
    path = other.folder(logged.digest) / PLAN
    document = json.loads(path.read_text())
    document["choices"] = [{"rows": 1, "path": "trees"}, {"rows": 10, "path": "onnx"}]
    path.write_text(json.dumps(document))
    runtime = Runtimes(plans=other.root).make("onnx", logged.folder / "files", logged.contract)
    runtime.load()
    assert runtime.path == "trees+onnx"
    own = logged.own(logged.rows)
    for size in (1, 9, 10, 300):
        answers = runtime.answer(batch_of(logged.rows[:size]), 1.0)
        assert answers.values.tolist() == own[:size]
        us = {item["name"]: item["us"] for item in document["paths"]}["trees" if size < 10 else "onnx"]
        if str(size) in us:
            assert runtime.cost_us(size) == us[str(size)]
    runtime.close()


class TestPlanStore:
    @pytest.fixture
    def copy(self, logged: Logged, store: PlanStore, tmp_path: Path) -> PlanStore:
        """A store of this test's own with the plan in it."""
        other = PlanStore(tmp_path / "plans")
        shutil.copytree(store.root, other.root)
        other.root.chmod(0o700)
        assert other.find(logged.digest) is not None
        return other

    def test_bytes_that_are_not_those_that_were_proven_are_not_used(self, logged: Logged, copy: PlanStore) -> None:
        found = copy.find(logged.digest)
        assert found is not None
        name = found[0].path(found[0].choices[0].path).files[0].path
        target = copy.folder(logged.digest) / name
        content = bytearray(target.read_bytes())
        content[len(content) // 2] ^= 1
        target.write_bytes(content)
        assert copy.find(logged.digest) is None
        target.unlink()
        assert copy.find(logged.digest) is None

    @pytest.mark.parametrize("name", sorted(runtime_versions()))
    def test_another_version_of_what_it_depends_on_is_another_plan(
        self, logged: Logged, copy: PlanStore, name: str
    ) -> None:
        path = copy.folder(logged.digest) / PLAN
        document = json.loads(path.read_text())
        document["versions"][name] = "0.0.1"
        path.write_text(json.dumps(document))
        assert copy.find(logged.digest) is None

    def test_a_plan_under_another_digest_is_none(self, logged: Logged, copy: PlanStore) -> None:
        other = "sha256:" + "0" * 64
        copy.folder(logged.digest).rename(copy.folder(other))
        assert copy.find(other) is None

    def test_a_folder_that_others_may_write_is_not_believed(self, logged: Logged, copy: PlanStore) -> None:
        copy.folder(logged.digest).chmod(0o770)
        assert copy.find(logged.digest) is None

    def test_a_plan_that_cannot_be_read_is_none(self, logged: Logged, copy: PlanStore) -> None:
        (copy.folder(logged.digest) / PLAN).write_text("{")
        assert copy.find(logged.digest) is None


def test_where_it_cannot_be_prepared_the_packages_own_onnx_answers(logged: Logged, tmp_path: Path) -> None:
    """A server without room for plans, or without the model's libraries, is no worse off than before there were plans."""
    (tmp_path / "plans").write_text("in the way")
    runtime = Runtimes(plans=tmp_path / "plans").make("onnx", logged.folder / "files", logged.contract)
    runtime.load()
    assert runtime.path == "onnx"
    runtime.close()
