"""Layers, and where client libraries may be imported."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from tests.house.source import ROOT, imports, python_files, tree

ADAPTERS: dict[str, tuple[str, ...]] = {
    # library: the files or folders that exist to wrap it, beside maestro/clients/
    "mlflow": ("maestro/serving/runtimes/pyfunc_worker.py",),
    "feast": (),
    "optuna": (),
    "evidently": (),
    "river": (),
    "apprise": (),
    "openlineage": (),
    "prometheus_client": ("maestro/observability", "maestro/serving"),
    "kubernetes": (),
    "hvac": (),
    "redis": (),
    "psycopg": (),
    "alembic": (),
    "httpx": ("maestro/lifecycle", "maestro/serving"),
    "onnxruntime": ("maestro/serving/runtimes", "maestro/training/pipeline/onnx.py"),
    "skops": ("maestro/serving/runtimes",),
    "fastapi": ("maestro/api", "maestro/serving"),
    "starlette": ("maestro/api", "maestro/serving"),
    "uvicorn": ("maestro/api", "maestro/serving", "maestro/lifecycle", "maestro/cli/service.py"),
    "typer": ("maestro/cli",),
    "rich": ("maestro/cli",),
    "cryptography": ("maestro/security",),
}


def test_every_adapter_that_is_named_is_there() -> None:
    assert [path for paths in ADAPTERS.values() for path in paths if not (ROOT / path).exists()] == []


def test_the_layers_hold() -> None:
    command = [str(Path(sys.executable).parent / "lint-imports"), "--no-logo", "--no-cache"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("library", sorted(ADAPTERS))
def test_a_client_library_is_imported_only_where_it_is_wrapped(library: str) -> None:
    allowed = ("maestro/clients", *ADAPTERS[library])
    wrong = [
        f"{path}:{line}"
        for path in python_files("maestro")
        if not path.as_posix().startswith(allowed)
        for name, line in imports(path)
        if name.split(".")[0] == library
    ]
    assert wrong == []


def test_only_the_engine_opens_databases() -> None:
    wrong = [
        str(path)
        for path in python_files("maestro")
        if "create_engine" in (ROOT / path).read_text() and path != Path("maestro/clients/database/engine.py")
    ]
    assert wrong == []


_PURE = {
    "sqlalchemy",
    "httpx",
    "requests",
    "socket",
    "subprocess",
    "urllib",
    "sqlite3",
    "threading",
    "asyncio",
    "tempfile",
    "shutil",
    "random",
}


def test_core_and_decisions_do_nothing_but_compute() -> None:
    pure = [path for path in python_files("maestro") if path.parts[1] in {"core", "decisions"}]
    assert len(pure) > 20
    assert [f"{path}:{line}" for path in pure for name, line in imports(path) if name.split(".")[0] in _PURE] == []
    pure.remove(Path("maestro/core/clock.py"))  # the machine's clock itself
    calls = (node for path in pure for node in ast.walk(tree(path)) if isinstance(node, ast.Call))
    assert [
        ast.unparse(call) for call in calls if ast.unparse(call.func) in {"open", "print", "datetime.now", "time.time"}
    ] == []


def _loads(module: str, forbidden: set[str]) -> set[str]:
    """The forbidden libraries that importing a module loads, in a process of its own."""
    code = (
        f"import sys, importlib; importlib.import_module({module!r}); print(*sorted({forbidden!r} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


@pytest.mark.parametrize(
    ("module", "forbidden"),
    [
        (
            "maestro.serving.main",
            {"mlflow", "sqlalchemy", "alembic", "optuna", "feast", "evidently", "typer", "pandas"},
        ),
        ("maestro.training.child", {"fastapi", "uvicorn", "starlette", "typer"}),
        ("maestro.cli.main", {"mlflow", "sqlalchemy", "fastapi", "uvicorn", "pandas", "scipy", "sklearn"}),
        ("maestro.decisions", {"sqlalchemy", "httpx", "mlflow", "pandas"}),
    ],
)
def test_what_a_process_does_not_load(module: str, forbidden: set[str]) -> None:
    assert _loads(module, forbidden) == set()
