"""The `maestro` command as users run it."""

from __future__ import annotations

import subprocess
import sys

import pytest

from maestro import __version__
from maestro.cli.main import COMMANDS


def maestro(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "maestro", *words], capture_output=True, text=True, timeout=60, check=False
    )


def test_the_version_is_printed() -> None:
    done = maestro("--version")
    assert (done.returncode, done.stdout.strip()) == (0, f"maestro {__version__}")


def test_the_help_lists_every_domain() -> None:
    done = maestro("--help")
    assert done.returncode == 0
    for name, (_, text) in COMMANDS.items():
        assert name in done.stdout
        assert text.split(":")[0][:30] in done.stdout


def test_a_command_that_does_not_exist_is_bad_input() -> None:
    done = maestro("trian")
    assert done.returncode == 2
    assert "trian" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("domain", sorted(COMMANDS))
def test_every_domain_answers_help_and_refuses_what_it_does_not_know(domain: str) -> None:
    shown = maestro(domain, "--help")
    assert shown.returncode == 0, shown.stderr
    assert f"maestro {domain}" in shown.stdout
    refused = maestro(domain, "--no-such-option")
    assert refused.returncode == 2, refused.stderr
    assert "--no-such-option" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_the_list_of_domains_loads_no_heavy_library() -> None:
    code = "import sys; from maestro.cli.main import main; main(['--help']); print(sorted({'mlflow', 'pandas', 'sqlalchemy', 'fastapi', 'sklearn', 'scipy'} & set(sys.modules)), file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.stderr.strip() == "[]"
