"""The same word everywhere: package, folder, script, command, route and test; nothing is an orphan in either direction."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from maestro.cli.main import COMMANDS
from tests.house.source import ROOT, files, imports, module_name, python_files, tree

DOMAINS = {"training", "serving", "governance", "ab-testing", "monitoring", "observability", "security", "operations"}
TESTS_OF_NO_PACKAGE = {
    "airflow",
    "frameworks",
    "house",
    "e2e",
    "scripts",
    "faults",
    "manifests",
    "cluster",
    "node",
    "tools",
}

PROMISED_SCRIPTS = [
    "governance/approval-workflow.py",
    "governance/deployment-automation.py",
    "governance/lineage-tracker.py",
    "governance/version-management.py",
    "monitoring/drift/data-drift-monitor.py",
    "operations/sla-monitor.py",
    "training/optuna/cost-aware-optimizer.py",
    "training/optuna/multi-objective-tuning.py",
    "training/optuna/optuna-study-example.py",
]
SCRIPTS = [path for path in python_files(*DOMAINS) if "-" in path.stem]


def packages() -> set[str]:
    return {path.parts[1] for path in python_files("maestro") if len(path.parts) > 2}


def test_every_promised_script_is_there() -> None:
    assert [name for name in PROMISED_SCRIPTS if not (ROOT / name).exists()] == []


@pytest.mark.parametrize("path", SCRIPTS, ids=str)
def test_a_script_holds_no_logic(path: Path) -> None:
    """A docstring, the import of `main` with the advice where it fails, and the exit; nothing else."""
    _, *statements = tree(path).body
    assert ast.get_docstring(tree(path))
    for statement in statements:
        source = ast.unparse(statement)
        if isinstance(statement, ast.Import | ast.ImportFrom):
            continue
        if isinstance(statement, ast.Try):
            assert [type(inner) for inner in statement.body] == [ast.ImportFrom]
            assert [ast.unparse(handler.type or ast.Constant(None)) for handler in statement.handlers] == [
                "ModuleNotFoundError"
            ]
            assert "sys.exit(2)" in ast.unparse(statement.handlers[0])
        else:
            assert source.replace("'", '"') in {
                "sys.exit(main())",
                'if __name__ == "__main__":\n    sys.exit(main())',
            }, source
    assert any(name.startswith("maestro.cli.") for name, _ in imports(path))
    assert "sys.path" not in ast.unparse(tree(path))


@pytest.mark.parametrize("path", SCRIPTS, ids=str)
def test_a_script_answers_help_and_refuses_an_unknown_flag(path: Path) -> None:
    def run(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, str(ROOT / path), *words],
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
            cwd=ROOT,
        )

    shown = run("--help")
    assert shown.returncode == 0, shown.stderr
    assert "Usage" in shown.stdout
    refused = run("--no-such-flag")
    assert refused.returncode == 2, refused.stderr
    assert "--no-such-flag" in refused.stderr
    assert "Traceback" not in refused.stderr


@pytest.mark.parametrize("path", SCRIPTS[:1], ids=str)
def test_without_the_package_a_script_says_how_to_activate_it(path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-I", "-S", str(ROOT / path)], capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 2
    assert "activate" in done.stderr + done.stdout
    assert "Traceback" not in done.stderr


def test_every_script_is_promised_or_documented() -> None:
    pages = "\n".join((ROOT / path).read_text() for path in files() if path.suffix == ".md")
    assert [str(path) for path in SCRIPTS if path.as_posix() not in PROMISED_SCRIPTS and path.name not in pages] == []


@pytest.mark.parametrize("path", SCRIPTS, ids=str)
def test_every_script_is_run_by_a_test(path: Path) -> None:
    tests = [(ROOT / test).read_text() for test in python_files("tests") if test.parts[1] != "house"]
    assert any(path.name in text for text in tests)


def test_domain_folders_are_packages() -> None:
    there = {path.parts[0] for path in files() if path.parts[0] in DOMAINS}
    assert {folder.replace("-", "_") for folder in there} - packages() == set()


def test_each_domain_folder_has_its_table() -> None:
    folders = {path.parts[0] for path in files() if path.parts[0] in DOMAINS}
    assert [folder for folder in sorted(folders) if not (ROOT / folder / "README.md").exists()] == []


def test_packages_and_tests_mirror_each_other() -> None:
    tested = {path.parts[1] for path in python_files("tests") if len(path.parts) > 2}
    assert tested - packages() - TESTS_OF_NO_PACKAGE == set()
    assert packages() - tested == set()


TESTED_UNDER = {
    "maestro.clients.openlineage": ("governance", "lineage"),  # its events, validated there
    "maestro.governance.environment": ("governance", "production"),
    "maestro.lifecycle.laptop": ("e2e", "up"),
    "maestro.lifecycle.worker": ("e2e", "up"),
    "maestro.security.confinement": ("security", "sandbox"),  # what confines the sandbox
    "maestro.serving.loaded": ("serving", "swap"),  # what a swap loads
    "maestro.serving.served": ("serving", "swap"),  # what a swap serves
    "maestro.training.feature_definitions": ("training", "features"),
}
"""Modules and packages that another test's word stands for, with domain and concept of that test."""


DOORS = {"api", "cli", "documented", "faults", "http", "laws", "openapi", "routes", "script", "scripts"}
"""Words of tests of a whole domain, by the way they enter it or by what holds for all of it."""


def concepts(path: Path) -> set[str]:
    """The words of a module: its own, its packages', and those that stand for it."""
    parts = module_name(path).split(".")
    words = {part.lstrip("_") for part in parts[2:]}
    for length in range(3, len(parts) + 1):
        words |= {word for _, word in [TESTED_UNDER.get(".".join(parts[:length]), ("", ""))]}
    return words - {""}


def words_of_test(path: Path) -> set[str]:
    """The words of a test file: `tests/<domain>/<package>/test_<concept>.py`."""
    return {*path.parts[2:-1], path.stem.removeprefix("test_")}


def test_every_test_file_is_named_for_a_concept() -> None:
    """Its folder below the domain's, or the beginning of its name, is a module or package of `maestro/<domain>`."""
    orphans = []
    for path in python_files("tests"):
        if len(path.parts) < 3 or path.parts[1] in TESTS_OF_NO_PACKAGE or not path.name.startswith("test_"):
            continue
        known = (
            {
                word
                for module in python_files("maestro")
                if module.parts[1] == path.parts[1]
                for word in concepts(module)
            }
            | {path.parts[1].replace("-", "_")}
            | DOORS
        )
        if not any(word == one or word.startswith(one + "_") for word in words_of_test(path) for one in known):
            orphans.append(str(path))
    assert orphans == []


def test_every_module_is_entered_by_a_test() -> None:
    """A test imports it or the package that re-exports it, or is named for it or for its package."""
    entered: set[str] = set()
    named: set[tuple[str, str]] = set()
    for path in python_files("tests"):
        entered |= {name for name, _ in imports(path)}
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.ImportFrom) and node.module:
                entered |= {f"{node.module}.{alias.name}" for alias in node.names}
        named |= {(path.parts[1], word) for word in words_of_test(path) if len(path.parts) > 2}
    orphans = []
    for path in python_files("maestro"):
        module, domain = module_name(path), path.parts[1]
        if path.stem in {"__init__", "__main__"} or "migrations" in path.parts or len(path.parts) < 3:
            continue
        if domain in {"cli", "api"} and path.stem not in {"console", "main"}:
            continue  # entered by their doors: every command and every route is called by discovery
        by_name = any(
            word == one or word.startswith(one + "_")
            for where, word in named
            for one in concepts(path)
            if where in {domain, "e2e"}
        )
        if not by_name and module not in entered and module.rpartition(".")[0] not in entered:
            orphans.append(module)
    assert orphans == []


def test_commands_and_modules_of_the_command_line_are_the_same() -> None:
    modules = {module_name(path) for path in python_files("maestro") if path.parts[1] == "cli"} - {
        "maestro.cli",
        "maestro.cli.console",
        "maestro.cli.main",
    }
    listed = {module for module, _ in COMMANDS.values()}
    assert listed - modules == set()
    scripts = {name for path in SCRIPTS for name, _ in imports(path)}
    assert {module for module in modules - listed if module not in scripts and "app" in _names(module)} == set()


def _names(module: str) -> set[str]:
    path = Path(*module.split(".")).with_suffix(".py")
    if not (ROOT / path).exists():
        return set()
    return {
        target.id
        for node in tree(path).body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
