"""Which target moves traffic, by settings and by flag."""

from __future__ import annotations

from pathlib import Path

import pytest

from maestro.clients.home import Home
from maestro.core.clock import ManualClock
from maestro.core.errors import BadInput, Unreachable
from maestro.core.settings import Settings
from maestro.lifecycle.traffic import traffic
from maestro.serving.target import GraphFileTarget


def test_the_laptop_by_default(home: Path, clock: ManualClock) -> None:
    found = traffic(Settings(home=home), Home(home), clock, server="http://127.0.0.1:9", token="")
    assert (found.name, found.converge) == ("laptop", None)
    assert isinstance(found.target("m"), GraphFileTarget)
    Home(home).graphs.mkdir(parents=True, exist_ok=True)
    Home(home).graph("m").write_text("x")
    assert list(found.models()) == ["m"]


def test_a_cluster_that_nothing_names_is_told(home: Path, clock: ManualClock, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("KUBECONFIG", "KUBERNETES_SERVICE_HOST"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(home))
    with pytest.raises(Unreachable, match="nothing says where") as nowhere:
        traffic(Settings(home=home, target="kubernetes"), Home(home), clock, server="", token="")
    assert "KUBECONFIG" in nowhere.value.remedy


def test_an_unknown_target_is_refused_with_the_known(home: Path, clock: ManualClock) -> None:
    with pytest.raises(BadInput, match="'mars'") as unknown:
        traffic(Settings(home=home), Home(home), clock, server="", token="", target="mars")
    assert unknown.value.remedy == "choose one of laptop, kubernetes"
