"""Vault's policies give each service its own and no more; the mesh is strict everywhere; the evidence maps name what is there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.manifests.objects import ROOT, of_kind

MAPS = sorted((ROOT / "security/compliance").glob("*.yaml"))


@pytest.mark.shows("K6", env="cluster")
@pytest.mark.parametrize("path", MAPS, ids=lambda path: path.stem)
def test_every_piece_of_evidence_is_there(path: Path) -> None:
    found: dict[str, Any] = yaml.safe_load(path.read_text())
    assert found["source"]
    assert found["left_to_you"]
    assert len({control["id"] for control in found["controls"]}) == len(found["controls"])
    missing = [
        f"{control['id']}: {name}"
        for control in found["controls"]
        for name in control["evidence"]
        if not (ROOT / name).exists()
    ]
    assert missing == []
    assert "certified" not in path.read_text().lower().replace("certifies nothing", "")


def test_the_three_frameworks_are_mapped() -> None:
    assert [path.stem for path in MAPS] == ["gdpr", "iso27001", "soc2"]


def vault() -> dict[str, str]:
    (config,) = [one for one in of_kind("ConfigMap") if (one.namespace, one.name) == ("vault", "vault")]
    data: dict[str, str] = config.body["data"]
    return data


@pytest.mark.shows("K1", env="cluster", accepted="Vault")
def test_each_service_of_vault_reads_its_own_secrets_alone() -> None:
    data = vault()
    services = re.findall(r"for service in ([^;]+); do", data["configure.sh"])[0].split()
    assert {f"{name}.hcl" for name in services} == {name for name in data if name.endswith(".hcl")} - {"vault.hcl"}
    accounts = {one.name for one in of_kind("ServiceAccount") if one.namespace == "ml-platform"}
    assert set(services) <= accounts
    for name in services:
        text = data[f"{name}.hcl"]
        assert "sudo" not in text
        assert '"root"' not in text
        for path, capabilities in re.findall(r'path "([^"]+)" \{ capabilities = \[([^\]]+)\]', text):
            assert "*" not in path.removesuffix("/*")
            if path.startswith("secret/"):
                assert capabilities == '"read"'
    signers = {name: set(re.findall(r"transit/sign/(\w+)", data[f"{name}.hcl"])) for name in services}
    assert signers == {name: set() for name in services} | {
        "control-plane-api": {"decider"},
        "control-plane-worker": {"builder"},
    }


@pytest.mark.shows("K9", env="cluster", accepted="Vault")
def test_vault_speaks_tls_alone_and_its_certificate_names_it() -> None:
    assert "tls_disable" not in vault()["vault.hcl"]
    assert 'tls_min_version = "tls13"' in vault()["vault.hcl"]
    listed = yaml.safe_load((ROOT / "infrastructure/secrets.yaml").read_text())["secrets"]
    (entry,) = [one for one in listed if one["name"] == "vault-tls"]
    assert "vault.vault.svc" in entry["keys"]["tls.crt"]["tls"]


@pytest.mark.shows("K2", "K9", env="cluster", accepted="Istio's data plane")
def test_the_mesh_is_strict_in_every_namespace() -> None:
    modes = {one.namespace: one.body["spec"]["mtls"]["mode"] for one in of_kind("PeerAuthentication")}
    assert modes == {one.name: "STRICT" for one in of_kind("Namespace")}


@pytest.mark.shows("K2", env="cluster", accepted="Istio's data plane")
def test_the_mesh_names_accounts_that_are_there() -> None:
    accounts = {(one.namespace, one.name) for one in of_kind("ServiceAccount")}
    named = {
        tuple(principal.removeprefix("cluster.local/ns/").split("/sa/"))
        for one in of_kind("AuthorizationPolicy")
        for rule in one.body["spec"]["rules"]
        for source in rule["from"]
        for principal in source["source"]["principals"]
    }
    assert named - accounts == set()
