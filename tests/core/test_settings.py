"""Settings come from the environment; a wrong one is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from maestro.core.errors import BadInput
from maestro.core.settings import settings


def test_nested_settings_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAESTRO_SERVING__ALLOW_UNSIGNED", "true")
    monkeypatch.setenv("MAESTRO_TRAINING__LEASE_S", "2.5")
    settings.cache_clear()
    assert settings().serving.allow_unsigned
    assert settings().training.lease_s == 2.5


def test_the_safe_values_are_the_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MAESTRO_HOME")
    settings.cache_clear()
    assert settings().home == Path(".maestro")
    assert not settings().serving.allow_unsigned
    assert settings().serving.auth == "key"


@pytest.mark.parametrize(
    ("name", "value"),
    [("MAESTRO_TRAINING__LEASE_S", "0"), ("MAESTRO_SERVING__AUTH", "none"), ("MAESTRO_LOG_LEVEL", "loud")],
)
def test_a_wrong_value_is_bad_input_that_names_it(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    settings.cache_clear()
    with pytest.raises(BadInput, match=name.split("__")[-1].removeprefix("MAESTRO_").lower()):
        settings()


def test_a_key_is_not_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAESTRO_API_KEY", "mk_1_secret")
    settings.cache_clear()
    assert "mk_1_secret" not in repr(settings())
