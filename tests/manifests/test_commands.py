"""Every command of ours that a manifest runs exists and takes the options that it is given."""

from __future__ import annotations

import importlib
import importlib.util
import re
import shlex
from collections.abc import Iterator
from typing import Any

import pytest
import typer

from maestro.cli.main import COMMANDS
from tests.manifests.objects import PodTemplate, all_pods


def _lines(words: list[str]) -> Iterator[list[str]]:
    """The commands of a container: its own words, or those inside its shell script."""
    if words[:1] == ["maestro"] or words[:2] == ["python", "-m"]:
        yield words
    if words[:1] in (["sh"], ["bash"]):
        for line in words[-1].replace("\\\n", " ").splitlines():
            for part in re.split(r"\|\||&&|;|\|", line):
                if part.strip().startswith("maestro "):
                    yield shlex.split(part)


def _commands() -> list[tuple[PodTemplate, list[str]]]:
    found = []
    for pod in all_pods():
        for _, container in pod.containers():
            words = [*(container.get("command") or []), *(container.get("args") or [])]
            found += [(pod, line) for line in _lines([str(word) for word in words])]
    return found


CASES = _commands()


@pytest.mark.shows("E2", "L10", env="laptop")
@pytest.mark.door
@pytest.mark.parametrize(
    ("pod", "words"), CASES, ids=[f"{pod.owner.name}: {' '.join(words)}"[:100] for pod, words in CASES]
)
def test_a_command_parses(pod: PodTemplate, words: list[str]) -> None:
    if words[0] == "python":
        assert importlib.util.find_spec(words[2]), f"{pod}: no module {words[2]}"
        return
    _, domain, *rest = words
    assert domain in COMMANDS, f"{pod}: maestro {domain}"
    command: Any = typer.main.get_command(importlib.import_module(COMMANDS[domain][0]).app)
    while hasattr(command, "commands"):
        assert rest[0] in command.commands, f"{pod}: maestro {domain} {rest[0]}"
        command = command.commands[rest.pop(0)]
    command.make_context(domain, rest, resilient_parsing=False).close()


def test_there_are_commands() -> None:
    assert len(CASES) >= 10
