"""`maestro platform` where there is no cluster, or one that does not answer: what is wrong and what to do, never a traceback."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from maestro.cli.main import main
from maestro.operations.platform.layout import Layout


def problem(capsys: pytest.CaptureFixture[str]) -> dict[str, str]:
    found: dict[str, str] = json.loads(capsys.readouterr().out)
    return found


@pytest.fixture
def nowhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """No kubeconfig of the developer's is read."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("KUBECONFIG", raising=False)
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    return tmp_path


@pytest.mark.parametrize("words", [["secrets"], ["plan", "-p", "infrastructure/app.yaml"], ["status"], ["remove"]])
def test_without_a_cluster_it_is_said(
    words: list[str], nowhere: Path, layout: Layout, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(layout.root)
    monkeypatch.setattr("sys.argv", ["maestro", "platform", *words, "--json"])
    assert main(["platform", *words, "--json"]) == 3
    assert "KUBECONFIG" in problem(capsys)["remedy"]


def test_a_cluster_that_is_gone_is_named(
    nowhere: Path, layout: Layout, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = {
        "apiVersion": "v1", "kind": "Config", "current-context": "c", "users": [{"name": "u", "user": {}}],
        "clusters": [{"name": "c", "cluster": {"server": "http://127.0.0.1:9"}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
    }  # fmt: skip
    (nowhere / "config").write_text(json.dumps(config))
    monkeypatch.setenv("KUBECONFIG", str(nowhere / "config"))
    monkeypatch.chdir(layout.root)
    monkeypatch.setattr("sys.argv", ["maestro", "platform", "status", "--json"])
    assert main(["platform", "status", "--json"]) == 3
    assert "http://127.0.0.1:9" in problem(capsys)["detail"]


def test_an_unknown_profile_lists_the_known(
    nowhere: Path, layout: Layout, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["maestro", "platform", "apply", "--json"])
    assert main(["platform", "apply", "--profile", "moon", "--root", str(layout.root), "--json"]) == 2
    assert "minikube, production" in problem(capsys)["remedy"]


def test_pin_says_which_images_have_no_digest_and_invents_none(
    layout: Layout, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    text = layout.versions_file.read_text().replace("registry.example/upstream", "127.0.0.1:9/upstream")
    layout.versions_file.write_text(text)
    monkeypatch.setenv("PATH", "")
    assert main(["platform", "pin", "--root", str(layout.root), "--json"]) == 1
    images = json.loads(capsys.readouterr().out)["images"]
    assert [one["digest"] for one in images] == [None, None]
    assert all(one["why"] for one in images)
    assert layout.versions_file.read_text() == text
