"""The audit log: what is appended, when heads are signed, what is published outside the database."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest
from sqlalchemy import Connection, func, select

from maestro.clients.database import Database
from maestro.clients.database.schema.security import audit_log
from maestro.core.clock import ManualClock
from maestro.core.errors import BadInput
from maestro.security.audit import AuditLog
from maestro.security.audit.heads import read_lines
from maestro.security.signing import PrivateKey
from maestro.security.trust import add_key, retire_key, revoke_key
from tests.security.audit_chain import Chain


def test_an_empty_log_is_sound(chain: Chain) -> None:
    report = chain.verify()
    assert (report.ok, report.entries, report.anchored) == (True, 0, 0)


@pytest.mark.shows("K5", "E5", env="laptop")
def test_heads_are_signed_every_100_entries_and_at_each_decision(chain: Chain) -> None:
    chain.fill(250)
    report = chain.verify()
    assert report.ok, report.problems
    assert (report.entries, report.heads, report.anchored, report.unanchored) == (250, 3, 201, 49)
    chain.log.record(actor="system:controller", action="decision", subject="version/m@1", decision=True)
    report = chain.verify()
    assert (report.anchored, report.unanchored, report.unpublished) == (251, 0, 0)
    assert chain.file.stat().st_mode & 0o777 == 0o600
    assert len(read_lines(chain.file)) == 4


def test_an_entry_shares_the_fate_of_its_transaction(chain: Chain) -> None:
    chain.fill(1)

    class Undone(Exception):
        pass

    def undo(connection: Connection) -> None:
        chain.log.append(connection, actor="a:b", action="x", subject="s/t", decision=True)
        raise Undone

    with pytest.raises(Undone):
        chain.tamper(undo)
    assert [entry.seq for entry in chain.log.entries()] == [1]
    assert len(read_lines(chain.file)) == 1
    chain.fill(1)
    assert chain.verify().ok


def test_a_line_that_was_not_completed_is_repaired_by_the_next_head(chain: Chain) -> None:
    chain.fill(150)
    whole = chain.file.read_bytes()
    for cut in (1, 200, len(whole) - 1):
        chain.file.write_bytes(whole[:cut])
        if cut > len(whole.splitlines(keepends=True)[0]):
            assert chain.verify().ok
            assert chain.verify().unpublished == 1
        assert chain.log.publish_heads() >= 1
        assert chain.file.read_bytes() == whole
        assert chain.log.publish_heads() == 0
    assert chain.verify().ok


def test_a_file_that_cannot_be_written_loses_no_entry_and_follows_later(
    sqlite_database: Database, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    chain = Chain(sqlite_database, tmp_path)
    chain.fill(1)
    chain.file.rename(tmp_path / "aside")
    chain.file.mkdir()
    chain.log.record(actor="a:b", action="x", subject="s/t", decision=True)
    assert "could not be appended" in caplog.text
    chain.file.rmdir()
    (tmp_path / "aside").rename(chain.file)
    report = chain.verify()
    assert (report.ok, report.entries, report.unpublished) == (True, 2, 1)
    chain.log.record(actor="a:b", action="x", subject="s/t", decision=True)
    assert (chain.verify().ok, chain.verify().unpublished) == (True, 0)


def test_rotation_keeps_heads_and_revocation_needs_a_new_one(chain: Chain) -> None:
    chain.fill(5)
    chain.clock.sleep(60)
    now = chain.clock.now()
    new = PrivateKey.generate()
    both = add_key(chain.trust, new.public_pem, "decider", not_before=now)
    chain.trust = retire_key(both, chain.decider.keyid, now)
    assert chain.verify().heads == 1
    chain.trust = revoke_key(both, chain.decider.keyid, now)
    report = chain.verify()
    assert (report.heads, report.revoked_heads, {problem.kind for problem in report.problems}) == (
        0,
        1,
        {"unanchored"},
    )
    with chain.database.begin() as connection:
        assert AuditLog(chain.database, chain.clock, new, chain.file).sign_head(connection) == 5
    report = chain.verify()
    assert (report.ok, report.heads, report.revoked_heads, report.anchored) == (True, 1, 1, 5)


def test_a_process_without_the_key_appends_and_the_next_with_it_signs(chain: Chain) -> None:
    worker = AuditLog(chain.database, chain.clock, None, chain.file)
    for _ in range(3):
        worker.record(actor="service:worker", action="job.done", subject="job/1")
    assert chain.kinds() == {"unanchored"}
    with chain.database.begin() as connection, pytest.raises(BadInput, match="no decider key"):
        worker.sign_head(connection)
    chain.fill(1)
    assert (chain.verify().ok, chain.verify().anchored) == (True, 4)


@pytest.mark.shows("K5", env="laptop")
def test_many_threads_make_one_chain_and_lose_nothing(chain: Chain) -> None:
    failures: list[BaseException] = []

    def work(name: str) -> None:
        log = AuditLog(chain.database, ManualClock(chain.clock.now()), chain.decider, chain.file)
        try:
            for number in range(15):
                log.record(actor=f"service:{name}", action="x", subject=f"s/{number}", decision=number % 5 == 0)
        except BaseException as error:
            failures.append(error)
            raise

    threads = [threading.Thread(target=work, args=(f"t{number}",)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    report = chain.verify()
    assert report.ok, report.problems
    assert report.entries == 60
    for number in range(4):
        told = [entry.subject for entry in chain.log.entries(actor=f"service:t{number}")]
        assert told == [f"s/{step}" for step in range(15)]


def test_a_chain_whose_seq_goes_on_behind_a_gap_of_the_database_is_one_chain(chain: Chain) -> None:
    chain.fill(2)

    def fail(connection: Connection) -> None:
        chain.log.append(connection, actor="a:b", action="x", subject="s/t")
        chain.log.append(connection, actor="", action="x", subject="s/t")

    with pytest.raises(BadInput):
        chain.tamper(fail)
    chain.fill(2)
    with chain.database.read() as connection:
        assert connection.execute(select(func.max(audit_log.c.seq))).scalar() == 4
    assert chain.verify().ok


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"actor": ""}, "actor"),
        ({"action": "x" * 129}, "action"),
        ({"subject": "a\0b"}, "subject"),
        ({"outcome": "x" * 17}, "outcome"),
        ({"data": {"a": float("nan")}}, "data.a"),
        ({"data": {"a": [1, 2**53]}}, "data.a.1"),
        ({"data": {"a": 1e17}}, "data.a"),
        ({"data": {"a": "x\0"}}, "data.a"),
        ({"data": {"a": "x\ud800"}}, "data"),
        ({"data": {"a": object()}}, "data.a"),
    ],
)
def test_what_cannot_be_told_is_refused_with_its_field(
    sqlite_database: Database, tmp_path: Path, fields: dict[str, object], field: str
) -> None:
    chain = Chain(sqlite_database, tmp_path)
    good: dict[str, object] = {"actor": "a:b", "action": "x", "subject": "s/t"}
    with pytest.raises(BadInput) as refused:
        chain.log.record(**(good | fields))  # type: ignore[arg-type]
    assert refused.value.field == field
    assert chain.log.entries() == ()


def test_data_comes_back_the_same_from_every_database(chain: Chain) -> None:
    data: dict[str, object] = {
        "f": 0.1 + 0.2,
        "i": 2**53 - 1,
        "n": None,
        "t": "ü😀\\u0000",
        "l": [1.0, -0.0, 1e-7, 5e-324],
        "o": {"b": {}},
    }
    entry = chain.log.record(actor="a:b", action="x", subject="s/t", data=data)
    assert chain.log.entries()[0].content_digest() == entry.content_digest()
    assert chain.verify().ok


def test_entries_are_listed_by_actor_action_and_subject(chain: Chain) -> None:
    chain.fill(6)
    assert len(chain.log.entries(action="approval.")) == 3
    assert [entry.seq for entry in chain.log.entries(subject="version/churn@1.3")] == [4]
    assert chain.log.entries(actor="human:eve") == ()
    assert [entry.seq for entry in chain.log.entries(after=2, limit=2)] == [3, 4]
    assert chain.log.entries(action="%") == ()


def test_the_file_is_readable_without_us(chain: Chain) -> None:
    """Each line is a DSSE envelope of an in-toto statement, which other tools verify."""
    import base64

    chain.fill(1)
    line = json.loads(chain.file.read_text().splitlines()[0])
    assert line["payloadType"] == "application/vnd.in-toto+json"
    statement = json.loads(base64.b64decode(line["payload"]))
    assert statement["predicateType"] == "urn:maestro:audit-head:v1"
    assert statement["subject"][0]["digest"]["sha256"] == chain.verify().head.removeprefix("sha256:")  # type: ignore[union-attr]
