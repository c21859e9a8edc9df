"""A user's function: found, allowed or refused, and judged like any other model."""

from __future__ import annotations

import pandas as pd
import pytest

from maestro.core.errors import BadInput, Refused
from maestro.training.models import model_type
from maestro.training.pipeline.command import command_of
from maestro.training.pipeline.train import train
from tests.training.models.rows import binary

NEAREST = "tests.training.user_training:nearest"


def test_it_is_trained_and_judged_without_a_call_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAESTRO_USER_CODE", "tests.training")
    prepared = binary()
    kind = model_type("python")
    trained = train(kind, {"function": NEAREST, "neighbours": 3}, prepared)
    assert type(trained.model).__name__ == "KNeighborsClassifier"
    assert kind.metrics(trained.model, prepared.holdout, prepared.holdout_target)["accuracy"] > 0.7
    assert trained.history[0]["own_score"] > 0.7
    assert trained.params == {"function": NEAREST, "neighbours": "3"}
    assert kind.output(trained.model).kind == "classification"
    kind.check(pd.Series([0.1, 0.2, 0.3]))
    assert kind.output(trained.model).kind == "regression"


def test_code_that_the_worker_does_not_list_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    kind = model_type("python")
    for allowed in (None, "", "tests.trainingx,other"):
        if allowed is None:
            monkeypatch.delenv("MAESTRO_USER_CODE", raising=False)
        else:
            monkeypatch.setenv("MAESTRO_USER_CODE", allowed)
        with pytest.raises(Refused, match="does not run code of"):
            kind.build({"function": NEAREST}, 0)


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({}, "None"),
        ({"function": "os.system"}, "os.system"),
        ({"function": "os:__import__('x')"}, "import"),
        ({"function": "tests.training.user_training:absent"}, "cannot be imported"),
        ({"function": "tests.nowhere:f"}, "cannot be imported"),
        ({"function": "tests.training.user_training:__doc__"}, "cannot be called"),
        ({"function": NEAREST, "task": "ranking"}, "ranking"),
    ],
)
def test_a_name_that_is_no_function_is_named(
    params: dict[str, str], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MAESTRO_USER_CODE", "*")
    with pytest.raises(BadInput, match=r"(?s).*" + words):
        model_type("python").build(params, 0)


def test_a_function_that_returns_no_model_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAESTRO_USER_CODE", "tests")
    with pytest.raises(BadInput, match="has no predict"):
        train(model_type("python"), {"function": "tests.training.user_training:nothing"}, binary())


@pytest.mark.parametrize("command", [None, [], "python train.py", ["a", 1], ["a\0b"]])
def test_a_command_is_a_list_of_texts(command: object) -> None:
    with pytest.raises(BadInput) as caught:
        command_of({"command": command})
    assert caught.value.field == "params.command"
