"""Every command that a runbook names exists and takes the options it is given."""

from __future__ import annotations

import importlib
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer

from maestro.cli.main import COMMANDS

RUNBOOKS = sorted((Path(__file__).parents[2] / "operations/runbooks").glob("*.md"))


def _commands(text: str) -> list[list[str]]:
    found = re.findall(r"`(maestro [^`\n]+)`", text)
    for block in re.findall(r"```\n(.*?)```", text, flags=re.S):
        found += [line for line in block.splitlines() if line.startswith("maestro ")]
    return [shlex.split(line)[1:] for line in found]


CASES = [
    pytest.param(words, id=f"{runbook.stem}: {' '.join(words)}")
    for runbook in RUNBOOKS
    for words in _commands(runbook.read_text())
]


def test_the_promised_runbooks_are_there() -> None:
    assert {runbook.name for runbook in RUNBOOKS} >= {"high-latency-runbook.md", "model-degradation-runbook.md"}
    assert len(CASES) >= 20


@pytest.mark.shows("N7", "L10", env="laptop")
@pytest.mark.door
@pytest.mark.parametrize("words", CASES)
def test_a_command_of_a_runbook_parses(words: list[str]) -> None:
    domain, *rest = words
    assert domain in COMMANDS
    app: typer.Typer = importlib.import_module(COMMANDS[domain][0]).app
    command: Any = typer.main.get_command(app)
    if "--help" in rest:
        rest.remove("--help")
        context = None
    while hasattr(command, "commands") and rest:
        assert rest[0] in command.commands, f"maestro {domain} has no command {rest[0]}"
        command = command.commands[rest.pop(0)]
    if rest or "--help" not in words:
        context = command.make_context(domain, rest, resilient_parsing=False)
        context.close()
