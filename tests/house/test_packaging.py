"""The wheel ships `maestro` and nothing else; extras keep heavy libraries out of what does not need them."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path
from typing import Any

import pytest

from tests.house.source import ROOT, python_files

PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The names in a wheel that was built just now."""
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=110, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (built,) = folder.glob("*.whl")
    with zipfile.ZipFile(built) as archive:
        return archive.namelist()


def test_the_wheel_holds_the_package_alone(wheel: list[str]) -> None:
    assert {name.split("/")[0] for name in wheel} == {
        "maestro",
        f"maestro_ml-{PROJECT['project']['version']}.dist-info",
    }
    modules = {path.as_posix() for path in python_files("maestro")}
    assert modules <= set(wheel)
    assert "maestro/py.typed" in wheel
    assert "maestro/core/rates.yaml" in wheel


def test_the_version_stands_once() -> None:
    import maestro

    assert PROJECT["project"]["version"] == maestro.__version__


def _extra(name: str) -> set[str]:
    """Every library of an extra, those that it takes from other extras included."""
    found: set[str] = set()
    for requirement in PROJECT["project"]["optional-dependencies"][name]:
        own = re.match(r"maestro-ml\[(.+)\]", requirement)
        for part in own[1].split(",") if own else []:
            found |= _extra(part)
        if not own:
            found.add(re.split(r"[\[<>=~ ]", requirement)[0])
    return found


def test_a_training_image_installs_no_web_server_and_a_model_server_no_mlflow() -> None:
    assert not _extra("training") & {"fastapi", "uvicorn", "jinja2"}
    assert not _extra("serving") & {"mlflow", "mlflow-skinny", "sqlalchemy", "alembic", "feast", "optuna"}


def test_the_lock_covers_every_requirement() -> None:
    locked = {
        re.split(r"[\[=]", line)[0].lower()
        for line in (ROOT / "requirements" / "dev.lock").read_text().splitlines()
        if "==" in line
    }
    wanted = {
        re.split(r"[\[<>=~ ]", text)[0].lower()
        for text in PROJECT["project"]["dependencies"] + PROJECT["dependency-groups"]["dev"]
    }
    for name in PROJECT["project"]["optional-dependencies"]:
        wanted |= {library.lower() for library in _extra(name)}
    assert wanted - locked == set()


def test_exceptions_to_the_types_are_one_list_of_libraries() -> None:
    overrides = PROJECT["tool"]["mypy"]["overrides"]
    assert len(overrides) == 1
    assert set(overrides[0]) == {"module", "ignore_missing_imports"}
    assert not any(module.startswith(("maestro", "tests", "tools")) for module in overrides[0]["module"])


def test_the_makefile_has_the_promised_doors() -> None:
    text = (ROOT / "Makefile").read_text()
    for door in [
        "setup",
        "demo",
        "up",
        "down",
        "test",
        "lint",
        "type",
        "format",
        "docs",
        "capabilities",
        "mutate",
        "bench",
        "clean",
    ]:
        match = re.search(rf"^{door}:.*\n((?:\t.*\n)*)", text, re.MULTILINE)
        assert match, door
        assert len(match[1].splitlines()) <= 2, f"{door}: a door is a line or two"


def test_the_setup_is_instant_when_nothing_changed(tmp_path: Path) -> None:
    code = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r}); from tools import setup; print(setup._digest({str(ROOT)!r}))"
    )
    told = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.strip()
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python").symlink_to(sys.executable)
    (tmp_path / ".maestro-setup").write_text(told)
    done = subprocess.run(
        [sys.executable, "tools/setup.py", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
