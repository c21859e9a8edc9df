"""Every command that README, guides, runbooks and workflows show exists, with the options that they give it and all that it needs."""

from __future__ import annotations

import doctest
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
    for workflow in sorted((ROOT / ".github" / "workflows").glob("*.yml")):
        runs = re.findall(r"run: (?:\.venv/bin/)?(maestro .*)", workflow.read_text())
        found |= {(workflow.name, command) for command in runs}
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
    if "--help" in rest or (hasattr(found, "commands") and not rest):
        return
    options = [parameter for parameter in found.params if parameter.param_type_name == "option"]
    names = {name for option in options for name in (*option.opts, *option.secondary_opts)}
    given = {word.split("=")[0] for word in rest if word.startswith("--")}
    assert given <= names, f"{page}: {command}"
    lacking = [option.opts[0] for option in options if option.required and not given & set(option.opts)]
    assert lacking == [], f"{page}: {command}"
    flags = {
        name
        for option in options
        if getattr(option, "is_flag", False)
        for name in (*option.opts, *option.secondary_opts)
    }
    values = sum(word.startswith("--") and "=" not in word and word not in flags for word in rest)
    words_left = sum(not word.startswith("-") for word in rest) - values
    arguments = [parameter for parameter in found.params if parameter.param_type_name == "argument"]
    needed = sum(argument.required for argument in arguments)
    most = len(rest) if any(argument.nargs == -1 for argument in arguments) else len(arguments)
    assert needed <= words_left <= most, f"{page}: {command}"


def test_pages_show_commands() -> None:
    assert len(shown()) > 10


@pytest.mark.shows("N6", env="laptop")
@pytest.mark.door
def test_the_guides_are_there_linked_and_right() -> None:
    readme = (ROOT / "README.md").read_text()
    for guide in ("TRAINING_OPERATOR_GUIDE.md", "docs/troubleshooting.md", "docs/cli.md", "docs/cost.md"):
        assert f"]({guide})" in readme
    told = set(re.findall(r"`maestro (\w+)`", (ROOT / "docs" / "cli.md").read_text()))
    assert told == set(COMMANDS)
    examples = doctest.testfile(str(ROOT / "docs" / "cost.md"), module_relative=False)
    assert examples.attempted >= 4
    assert examples.failed == 0
