"""Every kind of training as a job over HTTP: forecast, boosting by two workers, a user's function, a user's command."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from maestro.clients.mlflow import Tracking
from maestro.lifecycle.composition import Platform
from maestro.training.examples.series import write_co2
from tests.training.test_api import client_of, finished, tokens_of, working

__all__ = ["working"]

COMMAND = (
    "import json,os,pandas as pd\n"
    "train=pd.read_parquet(os.environ['MAESTRO_TRAIN_DATA']); held=pd.read_parquet(os.environ['MAESTRO_HOLDOUT_DATA'])\n"
    "params=json.load(open(os.environ['MAESTRO_PARAMS'])); out=os.environ['MAESTRO_OUTPUT']\n"
    "usual=train['benign'].mode()[0]\n"
    "json.dump({'accuracy': float((held['benign']==usual).mean()), 'depth': params['depth']}, open(out+'/metrics.json','w'))\n"
    "open(out+'/rule.txt','w').write(str(usual))\nprint('the usual answer is', usual)\n"
)


@pytest.fixture
def _users_code(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAESTRO_USER_CODE", "*")


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.usefixtures("_users_code")
@pytest.mark.shows("B4", "B11", "B15", "B22", "B23", "B24", "D11", "D13", "L5", env="laptop")
def test_every_kind_of_training_is_a_job(working: Platform, mlflow_url: str, tmp_path: Path) -> None:
    client, by = client_of(working), tokens_of(working)
    me = by("submitter")
    write_co2(tmp_path / "co2.parquet")
    tumour = {"feature_service": "tumour_v1"}
    asked: dict[str, dict[str, Any]] = {
        "forecast": {
            "model_type": "forecast", "params": {"n_estimators": 30, "horizon": 2, "backtest_folds": 2},
            "data": {"feature_service": "file", "entities": str(tmp_path / "co2.parquet"), "target": "co2"},
        },
        "function": {"model_type": "python", "data": tumour, "params": {"function": "tests.training.user_training:nearest", "neighbours": 7}},
        "command": {"model_type": "command", "data": tumour, "params": {"command": [sys.executable, "-c", COMMAND], "depth": 3}},
        "together": {
            "model_type": "classifier", "data": tumour, "workers": 2, "params": {"algorithm": "xgboost", "n_estimators": 20},
        },
        "nowhere": {"model_type": "python", "data": tumour, "params": {"function": "tests.training.user_training:absent"}},
    }  # fmt: skip
    ids = {}
    for name, body in asked.items():
        answer = client.post("/ai/training/jobs/start", json={"name": name, **body}, headers=me)
        assert answer.status_code == 202, answer.text
        ids[name] = answer.json()["id"]
    done = {name: finished(client, f"/ai/training/jobs/{job_id}", me) for name, job_id in ids.items()}
    assert done.pop("nowhere")["error"]["field"] == "params.function"
    assert {name: job["status"] for name, job in done.items()} == dict.fromkeys(done, "completed"), done
    tracking = Tracking(mlflow_url)
    for job in done.values():
        run = tracking.run(job["run_id"])
        assert run.status == "FINISHED"
        assert run.metrics["cost_usd"] is not None
        assert len(run.tags["mlflow.source.git.commit"]) == 40
        inputs = tracking.client.get_run(job["run_id"]).inputs
        assert inputs is not None
        assert len(inputs.dataset_inputs) == 1
        names = {item.path for item in tracking.client.list_artifacts(job["run_id"])}
        assert {"lineage.json", "environment"} <= names
    assert {"mae", "rmse", "mape", "r2", "backtest_mae", "backtest_skill"} <= set(done["forecast"]["result"]["metrics"])
    assert done["function"]["result"]["metrics"]["accuracy"] > 0.8
    assert tracking.run(done["function"]["run_id"]).metrics["own_score"] is not None
    assert done["function"]["model_uri"]
    assert done["command"]["result"]["metrics"]["depth"] == 3
    assert "rule.txt" in {item.path for item in tracking.client.list_artifacts(done["command"]["run_id"])}
    log = client.get(f"/ai/training/jobs/{ids['command']}/logs", headers=me).json()["items"]
    assert any("the usual answer is" in line["message"] for line in log)
    assert done["together"]["result"]["metrics"]["f1"] > 0.9
    assert done["together"]["result"]["missing"] == []
