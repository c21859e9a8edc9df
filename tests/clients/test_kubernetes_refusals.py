"""What an API server's refusals mean, and which requests are made again. The real server: tests/cluster."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from maestro.clients.kubernetes.connection import Connection, configured
from maestro.clients.kubernetes.refusals import refusal
from maestro.core.clock import ManualClock
from maestro.core.errors import (
    BadInput,
    Conflict,
    MaestroError,
    NotFound,
    Refused,
    TooManyRequests,
    Unauthenticated,
    Unreachable,
)


def refused(status: int, message: str = "", **fields: object) -> MaestroError:
    body = json.dumps({"kind": "Status", "message": message, **fields}).encode()
    return refusal(status, body, {"Retry-After": "7"}, what="read ConfigMap a/b", server="https://k")


@pytest.mark.parametrize(
    ("status", "message", "kind", "remedy"),
    [
        (401, "Unauthorized", Unauthenticated, "renew it"),
        (403, "configmaps is forbidden", Refused, "RBAC"),
        (403, "pods is forbidden: exceeded quota: q", Refused, "ResourceQuota"),
        (403, 'admission webhook "x" denied request: no', Refused, "as the policy says"),
        (404, "the server could not find the requested resource", NotFound, "CustomResourceDefinition"),
        (409, "the object has been modified", Conflict, "read it again"),
        (410, "too old resource version", Conflict, "read it again"),
        (422, "invalid", BadInput, "correct"),
        (429, "too many", TooManyRequests, "7 s"),
        (500, "etcd", Unreachable, "readyz"),
        (504, "timeout", Unreachable, "readyz"),
    ],
)
def test_each_refusal_names_the_object_and_the_remedy(
    status: int, message: str, kind: type[MaestroError], remedy: str
) -> None:
    error = refused(status, message)
    assert type(error) is kind
    assert error.detail.startswith("cannot read ConfigMap a/b: ")
    assert remedy in error.remedy


def test_the_first_cause_is_the_field() -> None:
    error = refused(422, "bad", details={"causes": [{"field": "spec.x", "message": "no"}]})
    assert error.field == "spec.x"


def test_an_answer_that_is_no_status_is_shown() -> None:
    error = refusal(502, b"<html>bad gateway</html>", {}, what="read x", server="https://k")
    assert "bad gateway" in error.detail


def _kubeconfig(folder: Path, server: str) -> Path:
    path = folder / "kubeconfig"
    path.write_text(json.dumps({
        "apiVersion": "v1", "kind": "Config", "current-context": "t", "users": [{"name": "u", "user": {"token": "secret-token"}}],
        "clusters": [{"name": "c", "cluster": {"server": server}}], "contexts": [{"name": "t", "context": {"cluster": "c", "user": "u"}}],
    }))  # fmt: skip
    return path


def test_a_server_that_is_gone_is_tried_again_and_then_named(tmp_path: Path) -> None:
    clock = ManualClock()
    began = clock.monotonic()
    connection = Connection.load(_kubeconfig(tmp_path, "http://127.0.0.1:9"), clock=clock, patience_s=5)
    with pytest.raises(Unreachable, match="nothing was changed") as gone:
        connection.request("POST", "/api/v1/namespaces/x/configmaps", what="create ConfigMap x/y", body={})
    assert "create ConfigMap x/y" in gone.value.detail
    assert "127.0.0.1:9" in gone.value.detail
    assert "secret-token" not in gone.value.detail
    assert 2 < clock.monotonic() - began <= 5


def test_without_a_cluster_the_remedy_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBECONFIG", raising=False)
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(Unreachable, match="nothing says where") as nowhere:
        configured()
    assert "KUBECONFIG" in nowhere.value.remedy


def test_a_context_or_a_file_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="nobody"):
        configured(_kubeconfig(tmp_path, "http://127.0.0.1:9"), "nobody")
    with pytest.raises(BadInput, match="missing"):
        configured(tmp_path / "missing")
