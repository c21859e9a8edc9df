"""Every command that README, guides and runbooks show exists, with every option that they give it."""

from __future__ import annotations

import importlib
import re
import shlex
from pathlib import Path

import pytest
import typer

from maestro.cli.main import COMMANDS

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *(ROOT / "operations" / "runbooks").glob("*.md")])


def shown() -> list[tuple[str, str]]:
    """Page and command line of every `maestro …` and `python3 ….py …` in the pages' code."""
    found = set()
    for page in PAGES:
        text = page.read_text()
        for block in re.findall(r"^```\w*\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
            for line in block.replace("\\\n", " ").splitlines():
                command = line.split("  #")[0].strip().removeprefix("$ ").removeprefix(".venv/bin/")
                if command.startswith(("maestro ", "python3 ")):
                    found.add((page.name, command))
    return sorted(found)


@pytest.mark.shows("N7", env="laptop")
@pytest.mark.parametrize(("page", "command"), shown())
def test_a_documented_command_exists_with_its_options(page: str, command: str) -> None:
    words = shlex.split(command, comments=True)
    if words[0] == "python3":
        assert (ROOT / words[1]).exists(), command
        return
    if words[1].startswith("-"):
        assert words[1:] in (["--help"], ["--version"])
        return
    assert words[1] in COMMANDS, command
    app: typer.Typer = importlib.import_module(COMMANDS[words[1]][0]).app
    found = typer.main.get_command(app)
    rest = words[2:]
    while hasattr(found, "commands") and rest and not rest[0].startswith("-"):
        assert rest[0] in found.commands, f"{page}: {command}"
        found, rest = found.commands[rest[0]], rest[1:]
    options = {name for parameter in found.params for name in (*parameter.opts, *parameter.secondary_opts)} | {"--help"}
    assert {word.split("=")[0] for word in rest if word.startswith("--")} <= options, f"{page}: {command}"


def test_pages_show_commands() -> None:
    assert len(shown()) > 10
