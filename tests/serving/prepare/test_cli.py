"""`maestro model inspect` and `maestro model prepare` as users run them."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from typing import Any

import pytest

from maestro.cli.main import main
from maestro.core.settings import settings
from maestro.serving.runtimes.plan import PlanStore
from tests.serving.conftest import Trained, Workshop
from tests.serving.prepare.conftest import Logged

Ask = Callable[..., dict[str, Any]]


@pytest.fixture
def model(workshop: Workshop, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Ask:
    """Runs `maestro model` and gives its document."""
    monkeypatch.setenv("MAESTRO_HOME", str(workshop.home.root))

    def run(*words: str, code: int = 0) -> dict[str, Any]:
        settings.cache_clear()
        monkeypatch.setattr(sys, "argv", ["maestro", "model", *words, "--json"])
        capsys.readouterr()
        assert main(["model", *words, "--json"]) == code, capsys.readouterr()
        shown: dict[str, Any] = json.loads(capsys.readouterr().out)
        return shown

    return run


@pytest.fixture
def prepared(workshop: Workshop, logged: Logged, store: PlanStore) -> PlanStore:
    """The version that was prepared for all tests, registered in this test's home with its plan."""
    folder = workshop.home.version("m", "1.0.0")
    folder.parent.mkdir(parents=True)
    shutil.copytree(logged.folder, folder)
    shutil.copytree(store.root, workshop.home.plans)
    workshop.home.plans.chmod(0o700)
    return PlanStore(workshop.home.plans)


@pytest.mark.shows("G4", env="laptop")
def test_inspect_tells_what_answers_how_fast_and_why(model: Ask, prepared: PlanStore, logged: Logged) -> None:
    shown = model("inspect", "m")
    assert (shown["version"], shown["digest"]) == ("1.0.0", logged.digest)
    assert shown["signature"]["built"] is False
    assert "provenance" in shown["signature"]["reason"]
    assert len(shown["contract"]["features"]) == 6
    plan = shown["plan"]
    assert plan["choices"][0]["rows"] == 1
    trees = next(path for path in plan["paths"] if path["name"] == "trees")
    assert trees["largest_difference"] == 0.0
    assert trees["us_per_row"]["1"] > 0
    assert {"1", "16", "256"} <= plan["original"]["us_per_row"].keys() & trees["us_per_row"].keys()
    assert "onnx (package)" in {refused["name"] for refused in plan["refused"]}


def test_inspect_prints_tables_for_people(
    model: Ask, prepared: PlanStore, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "240")
    settings.cache_clear()
    assert main(["model", "inspect", "m@1.0.0"]) == 0
    shown = capsys.readouterr().out
    assert "256" in shown
    assert "trees" in shown


def test_nothing_is_deserialised_that_no_trusted_builder_has_signed(model: Ask, prepared: PlanStore) -> None:
    shown = model("prepare", "m@1.0.0", "--again", code=4)
    assert "no valid provenance" in shown["detail"]


def test_onnx_as_it_was_logged_needs_no_plan(model: Ask, workshop: Workshop, trained: Trained) -> None:
    workshop.register("2.0.0", {"model.onnx": trained.onnx}, trained.contract)
    assert "no other original" in model("prepare", "m@2.0.0", code=2)["detail"]
    shown = model("inspect", "m")
    assert (shown["version"], shown["plan"]) == ("2.0.0", None)
    assert "it is the original" in shown["answers"]
    assert shown["signature"] == {"built": True, "promoted": True, "reason": ""}


def test_a_version_that_is_not_there_is_told_with_those_that_are(
    model: Ask, workshop: Workshop, trained: Trained
) -> None:
    workshop.register("2.0.0", {"model.onnx": trained.onnx}, trained.contract)
    assert "2.0.0" in model("inspect", "m@9.9.9", code=2)["remedy"]
    model("inspect", "../m", code=2)
