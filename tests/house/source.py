"""The repository as its own rules see it: its files, and what its modules import."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

_IGNORED = {".git", ".venv", ".maestro", ".capabilities", "__pycache__"}
_OUTPUTS = {"demo", "dist", "build"}
"""Ignored at the root only."""


@cache
def files() -> tuple[Path, ...]:
    """Every file of the project, relative to its root; what .gitignore excludes is left out (git itself is not needed)."""
    found: list[Path] = []
    for path in sorted(ROOT.rglob("*")):
        relative = path.relative_to(ROOT)
        ignored = (
            relative.parts[0] in _OUTPUTS
            or _IGNORED & set(relative.parts)
            or any(
                part.endswith(("_cache", ".egg-info")) or part in {".hypothesis", ".coverage"}
                for part in relative.parts
            )
        )
        environment = any((ROOT / parent / "pyvenv.cfg").exists() for parent in list(relative.parents)[:-1])
        if path.is_file() and not ignored and not environment:
            found.append(relative)
    return tuple(found)


def python_files(*folders: str) -> list[Path]:
    """The Python files below these folders."""
    return [path for path in files() if path.suffix == ".py" and path.parts[0] in folders]


@cache
def tree(path: Path) -> ast.Module:
    """The parsed module."""
    return ast.parse((ROOT / path).read_text(), filename=str(path))


def imports(path: Path) -> Iterator[tuple[str, int]]:
    """Every module that a file imports, at its top or inside a function, with its line; `if TYPE_CHECKING` is left out."""
    skipped: set[int] = set()
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            skipped |= {id(inner) for inner in ast.walk(node)}
    for node in ast.walk(tree(path)):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module, node.lineno


def module_name(path: Path) -> str:
    """`maestro/core/model.py` as `maestro.core.model`."""
    parts = path.with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
