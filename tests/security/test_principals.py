from __future__ import annotations

import os
import stat
import threading
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import select

from maestro.clients.database import Database
from maestro.clients.database.schema.security import principal_keys
from maestro.core.clock import ManualClock
from maestro.core.errors import BadInput, Conflict, NotFound, Refused, Unauthenticated, Unreachable
from maestro.core.principals import SYSTEM, Principal, PrincipalRole
from maestro.security.audit import AuditLog
from maestro.security.credential import Credential, KeyVerifier
from maestro.security.principals import PrincipalStore
from maestro.security.verifiers import KeyVerifiers

ADA = Principal(name="ada", kind="human", roles=(PrincipalRole.APPROVER,), tenants=("t1",))
BOT = Principal(name="bot", kind="agent", roles=(PrincipalRole.SUBMITTER,))


@pytest.fixture
def store(database: Database, clock: ManualClock) -> PrincipalStore:
    return PrincipalStore(database, clock)


@pytest.mark.shows("K8", env="laptop")
def test_a_minted_key_is_its_principal_and_is_stored_as_a_hash_only(store: PrincipalStore, database: Database) -> None:
    store.create(ADA)
    token = store.mint_key("ada")
    assert store.authenticate(token) == ADA
    with database.read() as connection:
        row = connection.execute(select(principal_keys)).mappings().one()
    assert token.split("_", 2)[2] not in str(dict(row))
    assert row["secret_hash"] == Credential.parse(token).secret_hash
    assert "secret" not in repr(Credential.parse(token))


def test_two_keys_of_one_person_are_one_principal(store: PrincipalStore) -> None:
    store.create(ADA)
    first, second = store.mint_key("ada"), store.mint_key("ada")
    assert first != second
    assert store.authenticate(first) == store.authenticate(second) == ADA


def test_the_kind_comes_with_the_key(store: PrincipalStore) -> None:
    store.create(BOT)
    assert store.authenticate(store.mint_key("bot")).kind == "agent"
    with pytest.raises(BadInput):
        store.create(SYSTEM)


def test_any_other_key_is_refused(store: PrincipalStore) -> None:
    store.create(ADA)
    token, other = store.mint_key("ada"), store.mint_key("ada")
    _, key_id, secret = token.split("_", 2)
    wrong = {
        "another secret": f"mk_{key_id}_{'A' if secret[0] != 'A' else 'B'}{secret[1:]}",
        "an unknown id": f"mk_{'0' * 16}_{secret}",
        "another key's id": f"mk_{other.split('_', 2)[1]}_{secret}",
        "cut": token[:-1],
        "longer": token + "A",
        "upper case": token.upper(),
        "empty": "",
        "a line's end": token + "\n",
        "not ASCII": token[:-1] + "é",
    }
    for change, text in wrong.items():
        with pytest.raises(Unauthenticated) as refused:
            store.authenticate(text)
        assert secret not in refused.value.detail, change


def test_revocation_expiry_and_disabling_hold_at_once(store: PrincipalStore, clock: ManualClock) -> None:
    store.create(ADA)
    revoked, lasting = store.mint_key("ada"), store.mint_key("ada")
    passing = store.mint_key("ada", clock.now() + timedelta(hours=1))
    store.revoke_key(revoked.split("_")[1])
    store.revoke_key(revoked.split("_")[1])
    with pytest.raises(Unauthenticated, match="was revoked"):
        store.authenticate(revoked)
    assert store.authenticate(passing) == ADA
    clock.sleep(3600)
    with pytest.raises(Unauthenticated, match="expired"):
        store.authenticate(passing)
    store.set_disabled("ada", True)
    with pytest.raises(Unauthenticated, match="is disabled"):
        store.authenticate(lasting)
    with pytest.raises(Refused):
        store.mint_key("ada")
    store.set_disabled("ada", False)
    assert store.authenticate(lasting) == ADA
    assert [key.revoked is not None for key in store.keys("ada")].count(True) == 1


def test_mistakes_are_named(store: PrincipalStore, clock: ManualClock) -> None:
    store.create(ADA)
    assert store.create(ADA) == ADA
    with pytest.raises(Conflict):
        store.create(ADA.model_copy(update={"roles": (PrincipalRole.OPERATOR,)}))
    with pytest.raises(NotFound):
        store.mint_key("eve")
    with pytest.raises(NotFound):
        store.set_disabled("eve", True)
    with pytest.raises(NotFound):
        store.revoke_key("0" * 16)
    with pytest.raises(NotFound):
        store.get("eve")
    with pytest.raises(BadInput):
        store.mint_key("ada", clock.now())
    assert store.get("ada").principal == ADA
    assert [record.principal.name for record in store.list()] == ["ada"]


def test_verifiers_recognise_the_same_keys_without_database(
    store: PrincipalStore, clock: ManualClock, tmp_path: Path
) -> None:
    store.create(ADA)
    store.create(BOT)
    good, revoked = store.mint_key("ada"), store.mint_key("ada")
    passing, bot = store.mint_key("ada", clock.now() + timedelta(hours=1)), store.mint_key("bot")
    store.revoke_key(revoked.split("_")[1])
    path = tmp_path / "server-keys.json"
    store.export_verifiers(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert good.split("_", 2)[2] not in path.read_text()
    verifiers = KeyVerifiers.load(path, clock)
    assert verifiers.authenticate(good) == ADA
    assert verifiers.authenticate(bot) == BOT
    assert verifiers.authenticate(passing) == ADA
    clock.sleep(3600)
    for wrong in (revoked, passing, good[:-1] + ("A" if good[-1] != "A" else "B"), ""):
        with pytest.raises(Unauthenticated):
            verifiers.authenticate(wrong)


def test_verifiers_follow_the_store_through_its_file(database: Database, clock: ManualClock, tmp_path: Path) -> None:
    path = tmp_path / "server-keys.json"
    store = PrincipalStore(database, clock, verifiers=path)
    store.create(ADA)
    verifiers = KeyVerifiers.load(path, clock)
    token = store.mint_key("ada")
    assert verifiers.authenticate(token) == ADA
    store.revoke_key(token.split("_")[1])
    with pytest.raises(Unauthenticated):
        verifiers.authenticate(token)


def test_a_broken_file_changes_nobody_and_is_told(
    sqlite_database: Database, clock: ManualClock, tmp_path: Path
) -> None:
    path = tmp_path / "server-keys.json"
    store = PrincipalStore(sqlite_database, clock, verifiers=path)
    store.create(ADA)
    token = store.mint_key("ada")
    verifiers = KeyVerifiers.load(path, clock)
    assert verifiers.problem == ""
    path.write_text("{")
    assert verifiers.authenticate(token) == ADA
    assert "not JSON" in verifiers.problem
    path.unlink()
    assert verifiers.authenticate(token) == ADA
    store.export_verifiers(path)
    assert verifiers.authenticate(token) == ADA
    assert verifiers.problem == ""
    path.chmod(0o666)
    with pytest.raises(Refused, match="too open"):
        KeyVerifiers.load(path)
    with pytest.raises(NotFound):
        KeyVerifiers.load(tmp_path / "none.json")


def test_readers_never_see_half_a_file(sqlite_database: Database, clock: ManualClock, tmp_path: Path) -> None:
    path = tmp_path / "server-keys.json"
    store = PrincipalStore(sqlite_database, clock, verifiers=path)
    store.create(ADA)
    token = store.mint_key("ada")
    done = threading.Event()
    failures: list[str] = []

    def read() -> None:
        while not done.is_set():
            verifiers = KeyVerifiers.load(path, clock)
            if verifiers.authenticate(token) != ADA:
                failures.append("another principal")

    reader = threading.Thread(target=read)
    reader.start()
    try:
        for _ in range(20):
            store.export_verifiers(path)
    finally:
        done.set()
        reader.join()
    assert not failures
    assert not [name for name in os.listdir(tmp_path) if name.startswith(".server-keys.json.") and "lock" not in name]


def test_a_full_or_missing_disk_is_a_clear_error(store: PrincipalStore, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Unreachable, match="cannot be written"):
        store.export_verifiers(tmp_path / "file" / "server-keys.json")


@pytest.mark.shows("K5", env="laptop")
def test_every_change_is_in_the_audit_log_and_no_secret_is(database: Database, clock: ManualClock) -> None:
    audit = AuditLog(database, clock, None, None)
    store = PrincipalStore(database, clock, audit=audit)
    store.create(ADA, actor="human:root")
    token = store.mint_key("ada", actor="human:root")
    store.revoke_key(token.split("_")[1], actor="human:root")
    store.set_disabled("ada", True, actor="human:root")
    store.set_disabled("ada", True, actor="human:root")
    told = audit.entries()
    assert [entry.action for entry in told] == ["principal.create", "key.mint", "key.revoke", "principal.disable"]
    assert {entry.actor for entry in told} == {"human:root"}
    assert token.split("_", 2)[2] not in str([entry.document() for entry in told])


def test_keys_made_outside_are_taken_in_once_and_stay_revoked(store: PrincipalStore, clock: ManualClock) -> None:
    """As an installation brings them: by their verifiers, which hold no secret."""
    first, second = Credential.mint(), Credential.mint()
    brought = [KeyVerifier(key_id=one.key_id, secret_hash=one.secret_hash, principal=ADA) for one in (first, second)]
    assert store.adopt(brought[:1]) == (first.key_id,)
    assert store.authenticate(first.token) == ADA
    store.revoke_key(first.key_id)
    clock.sleep(1)
    assert store.adopt(brought) == (second.key_id,)
    assert store.adopt(brought) == ()
    with pytest.raises(Unauthenticated, match="revoked"):
        store.authenticate(first.token)
    assert store.authenticate(second.token) == ADA
    with pytest.raises(BadInput):
        store.adopt([KeyVerifier(key_id="f" * 16, secret_hash=first.secret_hash, principal=SYSTEM)])
