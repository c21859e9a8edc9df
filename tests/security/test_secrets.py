"""The conformance suite of `SecretStore`, run on every implementation, and what is particular to each."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from maestro.clients.vault import Vault
from maestro.core.errors import BadInput, NotFound, Refused, Unauthenticated, Unreachable
from maestro.core.seams import SecretStore
from maestro.security.secrets import KINDS, EnvironmentSecrets, FileSecrets, VaultSecrets, secret_store
from tests.security.vault_server import VaultServer

STORES: dict[str, Callable[[Path, pytest.FixtureRequest], SecretStore]] = {
    "environment": lambda folder, _: EnvironmentSecrets({}),
    "file": lambda folder, _: FileSecrets(folder / "secrets"),
    "vault": lambda folder, request: VaultSecrets(request.getfixturevalue("vault"), prefix=f"t/{folder.name}"),
}


@pytest.fixture(params=sorted(STORES))
def store(request: pytest.FixtureRequest, tmp_path: Path) -> SecretStore:
    return STORES[request.param](tmp_path, request)


@pytest.fixture
def vault(vault_server: VaultServer) -> Vault:
    """A client of the real server, as root."""
    return Vault(vault_server.address, token=vault_server.token)


def test_every_kind_is_in_the_suite() -> None:
    assert set(STORES) == set(KINDS)


@pytest.mark.shows("K8", env="laptop")
@pytest.mark.parametrize("value", ["x", "two\nlines\n", " spaces ", "ü😀", "mk_" + "a" * 5000])
def test_what_was_put_comes_back_as_it_was_and_is_replaced(store: SecretStore, value: str) -> None:
    store.put("slack-webhook", "old")
    store.put("slack-webhook", value)
    assert store.get("slack-webhook") == value


def test_what_is_missing_is_named_and_never_an_empty_value(store: SecretStore) -> None:
    with pytest.raises(NotFound, match="there is no secret slack-webhook") as missing:
        store.get("slack-webhook")
    assert missing.value.remedy
    for value in ("", "a\0b"):
        with pytest.raises(BadInput):
            store.put("slack-webhook", value)
    with pytest.raises(NotFound):
        store.get("slack-webhook")


@pytest.mark.parametrize("name", ["", "..", "../x", "a/b", "A", "a_b", "a.b", "1a", "a\n", "a" * 64, "é"])
def test_names_that_could_lead_elsewhere_or_meet_are_refused(store: SecretStore, name: str) -> None:
    with pytest.raises(BadInput, match="no name of a secret"):
        store.get(name)
    with pytest.raises(BadInput):
        store.put(name, "x")


def test_secrets_are_apart(store: SecretStore) -> None:
    store.put("a-b", "1")
    store.put("ab", "2")
    assert (store.get("a-b"), store.get("ab")) == ("1", "2")


def test_the_store_does_not_show_values(store: SecretStore) -> None:
    store.put("token", "very-secret-value")
    assert "very-secret-value" not in repr(store)


def test_a_file_that_others_may_read_is_refused(tmp_path: Path) -> None:
    store = FileSecrets(tmp_path / "secrets")
    store.put("token", "x")
    path = tmp_path / "secrets" / "token"
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    path.chmod(0o640)
    with pytest.raises(Refused, match="too open"):
        store.get("token")
    path.unlink()
    path.symlink_to("/etc/hostname")
    with pytest.raises(Refused):
        store.get("token")


@pytest.mark.shows("K8", env="laptop")
def test_the_environment_is_read_under_its_prefix(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAESTRO_SECRET_SLACK_WEBHOOK", "https://hooks")
    assert secret_store("environment").get("slack-webhook") == "https://hooks"
    monkeypatch.setenv("MAESTRO_SECRET_SLACK_WEBHOOK", "")
    with pytest.raises(NotFound):
        secret_store("environment").get("slack-webhook")


@pytest.mark.parametrize("address", ["", "vaullt:x", "file:", "file", "environment:x", "env"])
def test_an_unknown_store_is_refused_with_the_known_ones(address: str) -> None:
    with pytest.raises(BadInput, match="there is no secret store") as refused:
        secret_store(address)
    assert "environment, file" in refused.value.remedy


def test_the_factory_makes_what_it_names(tmp_path: Path) -> None:
    assert isinstance(secret_store("environment"), EnvironmentSecrets)
    assert isinstance(secret_store(f"file:{tmp_path}"), FileSecrets)


def test_the_factory_makes_a_vault_where_the_environment_says(
    vault_server: VaultServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("VAULT_ADDR", raising=False)
    with pytest.raises(Unreachable, match="where Vault is"):
        secret_store("vault:secret/maestro")
    monkeypatch.setenv("VAULT_ADDR", vault_server.address)
    monkeypatch.delenv("VAULT_TOKEN", raising=False)
    monkeypatch.delenv("VAULT_ROLE", raising=False)
    with pytest.raises(Unauthenticated, match="how to sign in"):
        secret_store("vault:secret/maestro")
    monkeypatch.setenv("VAULT_TOKEN", vault_server.token)
    store = secret_store("vault:secret/factory")
    store.put("a", "1")
    assert store.get("a") == "1"


def test_what_vault_refuses_is_told_with_the_remedy(vault_server: VaultServer, vault: Vault) -> None:
    with pytest.raises(Refused, match="cannot read secret/maestro/x") as refused:
        VaultSecrets(Vault(vault_server.address, token="wrong")).get("x")
    assert "policy" in refused.value.remedy
    assert "wrong" not in str(refused.value)
    with pytest.raises(NotFound):
        VaultSecrets(vault, mount="nowhere").get("x")
    with pytest.raises(Unreachable, match="does not answer"):
        VaultSecrets(Vault("http://127.0.0.1:9", token="x")).get("x")


def test_a_secret_that_was_deleted_is_missing(vault_server: VaultServer, vault: Vault) -> None:
    store = VaultSecrets(vault, prefix="deleted")
    store.put("a", "1")
    subprocess.run(
        ["vault", "kv", "delete", "secret/deleted/a"], check=True, capture_output=True,
        env=os.environ | {"VAULT_ADDR": vault_server.address, "VAULT_TOKEN": vault_server.token},
    )  # fmt: skip
    with pytest.raises(NotFound, match="there is no secret a"):
        store.get("a")
