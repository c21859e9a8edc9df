"""Overlays built by kubectl, and what is wrong with one in words."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from maestro.clients.kubernetes.kustomize import build
from maestro.core.errors import Malformed, NotFound, Unreachable

CONFIG = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n"


def test_a_file_alone_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(CONFIG + "---\n" + CONFIG.replace("a}", "b}"))
    assert [body["metadata"]["name"] for body in build(tmp_path / "a.yaml")] == ["a", "b"]


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="no kubectl")
def test_a_patch_for_an_object_that_is_not_there_is_told(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(CONFIG)
    file = tmp_path / "kustomization.yaml"
    file.write_text("resources: [a.yaml]\n")
    assert len(build(tmp_path)) == 1
    file.write_text(
        "resources: [a.yaml]\npatches:\n- patch: '{apiVersion: v1, kind: ConfigMap, metadata: {name: gone}}'\n"
    )
    with pytest.raises(Malformed, match="gone"):
        build(tmp_path)
    file.write_text("resources: [b.yaml]\n")
    with pytest.raises(Malformed, match=r"b\.yaml"):
        build(tmp_path)


def test_a_folder_without_kustomization_is_told(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"kustomization\.yaml"):
        build(tmp_path)


def test_without_kubectl_it_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "kustomization.yaml").write_text("resources: []\n")
    monkeypatch.setenv("PATH", "")
    with pytest.raises(Unreachable, match="kubectl is not installed"):
        build(tmp_path)
