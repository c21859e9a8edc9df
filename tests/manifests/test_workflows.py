"""The workflow that deploys a model: the promised inputs, the same commands as by hand, and clean in actionlint."""

from __future__ import annotations

import importlib
import re
import shlex
import shutil
import subprocess
from typing import Any

import pytest
import typer
import yaml

from maestro.cli.main import COMMANDS
from tests.manifests.objects import ROOT

WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))
DEPLOYMENT = ROOT / ".github/workflows/model-deployment.yml"


def steps() -> list[dict[str, Any]]:
    found = yaml.safe_load(DEPLOYMENT.read_text())
    return [step for job in found["jobs"].values() for step in job["steps"]]


def test_the_inputs_are_the_promised_ones() -> None:
    # YAML reads the key `on` as true
    inputs = yaml.safe_load(DEPLOYMENT.read_text())[True]["workflow_dispatch"]["inputs"]
    assert set(inputs) == {"model_name", "model_version", "deployment_strategy"}
    assert inputs["deployment_strategy"]["options"] == ["rolling", "blue-green", "canary"]
    assert all(one["required"] for one in inputs.values())


@pytest.mark.shows("E8", "F1", env="laptop")
@pytest.mark.door
def test_each_of_our_commands_takes_the_options_that_it_is_given() -> None:
    lines = [
        line.strip() for step in steps() for line in str(step.get("run", "")).splitlines() if "bin/maestro " in line
    ]
    assert len(lines) >= 2
    for line in lines:
        words = shlex.split(line.replace('"$STRATEGY"', "canary").replace('"$MODEL"', "m").replace('"$VERSION"', "1"))
        domain, *rest = words[words.index(next(word for word in words if word.endswith("bin/maestro"))) + 1 :]
        command: Any = typer.main.get_command(importlib.import_module(COMMANDS[domain][0]).app)
        while hasattr(command, "commands"):
            command = command.commands[rest.pop(0)]
        command.make_context(domain, rest, resilient_parsing=False).close()


def test_no_input_is_pasted_into_a_shell() -> None:
    for step in steps():
        assert "${{" not in str(step.get("run", "")), "inputs reach a shell as variables, never as text"


def test_it_may_read_and_nothing_else() -> None:
    found = yaml.safe_load(DEPLOYMENT.read_text())
    assert found["permissions"] == {"contents": "read"}
    assert all(re.fullmatch(r"[\w./-]+@(v\d+|[0-9a-f]{40})", step["uses"]) for step in steps() if "uses" in step)


@pytest.mark.shows("E8", env="laptop")
@pytest.mark.door
def test_actionlint_finds_nothing() -> None:
    actionlint = shutil.which("actionlint")
    if actionlint is None:
        pytest.skip("actionlint is not on PATH (see the toolchain)")
    done = subprocess.run([actionlint, *map(str, WORKFLOWS)], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
