"""Vault's Kubernetes authentication against the real API server: a ServiceAccount signs in and reads what its policy allows, and no more."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from maestro.clients.kubernetes.connection import configured
from maestro.clients.kubernetes.objects import Cluster, Ref
from maestro.clients.vault import Vault
from maestro.core.errors import Refused, Unauthenticated
from maestro.security.secrets import VaultSecrets
from tests.security.vault_server import VaultServer

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(120)]


def _token(cluster: Cluster, namespace: str, account: str) -> str:
    ref = Ref("v1", "ServiceAccount", account, namespace)
    request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 600}}
    answer: dict[str, Any] = cluster.connection.request(
        "POST", cluster.path(ref, "token"), what=f"sign in as {ref}", body=request
    )
    return str(answer["status"]["token"])


@pytest.mark.door
@pytest.mark.shows("K1", env="cluster")
def test_a_service_account_reads_what_its_policy_allows(
    cluster: Cluster,
    namespace: str,
    vault_server: VaultServer,
    tmp_path: Path,
) -> None:
    for account in ("worker", "reviewer", "stranger"):
        cluster.create(
            {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": account, "namespace": namespace}}
        )
    cluster.create({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": f"review-{namespace}"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "system:auth-delegator"},
        "subjects": [{"kind": "ServiceAccount", "name": "reviewer", "namespace": namespace}],
    })  # fmt: skip
    root = os.environ | {"VAULT_ADDR": vault_server.address, "VAULT_TOKEN": vault_server.token}
    authority = tmp_path / "ca.crt"
    authority.write_bytes(Path(configured().ssl_ca_cert or "").read_bytes())

    def vault(*arguments: str, text: str | None = None) -> None:
        done = subprocess.run(["vault", *arguments], env=root, input=text, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr

    mount = f"k-{namespace}"
    vault("auth", "enable", f"-path={mount}", "kubernetes")
    vault(
        "write", f"auth/{mount}/config", f"kubernetes_host={cluster.connection.server}", f"kubernetes_ca_cert=@{authority}",
        f"token_reviewer_jwt={_token(cluster, namespace, 'reviewer')}", "disable_local_ca_jwt=true",
    )  # fmt: skip
    vault(
        "policy",
        "write",
        mount,
        "-",
        text='path "secret/data/maestro/*" { capabilities = ["read", "create", "update"] }',
    )
    vault(
        "write", f"auth/{mount}/role/worker", "bound_service_account_names=worker",
        f"bound_service_account_namespaces={namespace}", f"policies={mount}", "ttl=60",
    )  # fmt: skip
    jwt = tmp_path / "token"
    jwt.write_text(_token(cluster, namespace, "worker"))
    client = Vault(vault_server.address, role="worker", mount=mount, jwt=jwt)
    store = VaultSecrets(client)
    store.put("slack-webhook", "https://hooks")
    assert store.get("slack-webhook") == "https://hooks"
    with pytest.raises(Refused):
        VaultSecrets(client, prefix="others").get("slack-webhook")

    subprocess.run(["vault", "lease", "revoke", "-prefix", f"auth/{mount}"], env=root, check=True, capture_output=True)
    assert store.get("slack-webhook") == "https://hooks", "a revoked sign-in is made anew"

    jwt.write_text(_token(cluster, namespace, "stranger"))
    with pytest.raises(Unauthenticated, match="role worker") as refused:
        VaultSecrets(Vault(vault_server.address, role="worker", mount=mount, jwt=jwt)).get("slack-webhook")
    assert "bind the ServiceAccount" in refused.value.remedy
    cluster.delete(Ref("rbac.authorization.k8s.io/v1", "ClusterRoleBinding", f"review-{namespace}"))
