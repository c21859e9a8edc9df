"""How every command prints and fails: exit codes by meaning, one JSON document for scripts, no traceback for a user's mistake."""

from __future__ import annotations

import inspect
import json
import math
from pathlib import Path
from typing import Annotated

import pytest
import typer
from pydantic import BaseModel

from maestro.cli.console import JsonFlag, emit, invoke, read_yaml, script
from maestro.core import errors
from maestro.core.errors import MaestroError, Malformed
from maestro.core.jobs import JobRequest

KINDS = [kind for kind in vars(errors).values() if inspect.isclass(kind) and issubclass(kind, MaestroError)]

app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode=None)


@app.command()
def failing(kind: str, as_json: JsonFlag = False) -> None:
    """Fail with the named error."""
    raise getattr(errors, kind)("weight is 0 [sic]", remedy="give 1 to 100", field="weight")


@app.command()
def broken(as_json: JsonFlag = False) -> None:
    """Fail with a bug."""
    raise ZeroDivisionError("deep inside")


@app.command()
def lacking() -> None:
    """Need a library that is not there."""
    raise ModuleNotFoundError("No module named 'mlflow'", name="mlflow")


@app.command()
def interrupted() -> None:
    """Be interrupted."""
    raise KeyboardInterrupt


@app.command()
def invalid() -> None:
    """Let a validation error out."""
    JobRequest.model_validate({"name": "a b"})


@app.command()
def counting(number: Annotated[int, typer.Option(min=1)] = 1, as_json: JsonFlag = False) -> int:
    """Return a code."""
    emit({"number": number}, as_json=as_json, human=lambda: print("number", number))
    return 0


def run(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    monkeypatch.setattr("sys.argv", ["maestro", *words])
    return invoke(app, "maestro", words)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_each_error_has_its_exit_code_and_names_field_and_remedy(
    kind: type[MaestroError], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "failing", kind.__name__) == kind.exit_code
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "weight is 0 [sic]" in shown.err
    assert "give 1 to 100" in shown.err


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_with_json_standard_output_is_one_problem_document(
    kind: type[MaestroError], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "failing", kind.__name__, "--json") == kind.exit_code
    document = json.loads(capsys.readouterr().out)
    assert document["type"] == f"urn:maestro:problem:{kind.slug}"
    assert document["field"] == "weight"


def test_a_bug_is_one_line_and_a_log(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "broken") == 70
    shown = capsys.readouterr()
    assert "Traceback" not in shown.out + shown.err
    assert "crash.log" in shown.err
    assert "deep inside" in (home / "logs" / "crash.log").read_text()


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["counting", "--numbr", "1"], "--numbr"),
        (["counting", "--number", "x"], "--number"),
        (["counting", "--number", "0"], "--number"),
        (["countign"], "countign"),
        (["failing"], "kind"),
    ],
)
def test_a_wrong_command_line_is_bad_input_that_names_the_word(
    words: list[str], named: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, *words) == 2
    assert named in capsys.readouterr().err


def test_no_words_print_the_help(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(monkeypatch) == 2
    shown = capsys.readouterr().err
    assert "Usage: maestro" in shown
    assert "Malformed" not in shown


def test_a_library_that_is_not_installed_is_named_with_the_extra(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "lacking") == 3
    shown = capsys.readouterr().err
    assert "mlflow is not installed" in shown
    assert "maestro-ml[laptop]" in shown


def test_an_interruption_is_130(monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(monkeypatch, "interrupted") == 130


def test_a_validation_error_is_bad_input(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(monkeypatch, "invalid") == 2
    assert "name" in capsys.readouterr().err


def test_json_and_text_carry_the_same(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(monkeypatch, "counting", "--number", "3", "--json") == 0
    assert json.loads(capsys.readouterr().out) == {"number": 3}
    assert run(monkeypatch, "counting", "--number", "3") == 0
    assert capsys.readouterr().out == "number 3\n"


class _Point(BaseModel):
    x: int
    note: str | None = None


def test_models_paths_and_tuples_become_json(capsys: pytest.CaptureFixture[str]) -> None:
    emit({"at": (_Point(x=1), Path("a/b"))}, as_json=True)
    assert json.loads(capsys.readouterr().out) == {"at": [{"x": 1}, "a/b"]}


def test_nan_is_never_printed_as_json() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        emit({"x": math.nan}, as_json=True)


@pytest.mark.parametrize(
    ("content", "message"), [(None, "No such file"), (b"a: [1\nb: 2", "line 2"), (b"\xff\xfe\x00a", "is not YAML")]
)
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, content: bytes | None, message: str) -> None:
    path = tmp_path / "policy.yaml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(Malformed, match=message) as caught:
        read_yaml(path, "policy file")
    assert "policy.yaml" in caught.value.detail


def test_the_main_of_a_script_returns_the_code(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["counting.py", "counting"])
    assert script(app, "counting.py")() == 0
