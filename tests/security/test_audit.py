from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import Connection, delete, func, insert, select, text, update

from maestro.clients.database import Database
from maestro.clients.database.schema.security import audit_heads, audit_log
from maestro.core.clock import ManualClock
from maestro.core.errors import BadInput
from maestro.core.model import Digest, format_time
from maestro.core.statement import TrustPolicy
from maestro.security.audit import AuditLog, AuditReport
from maestro.security.audit.heads import read_lines
from maestro.security.audit.verify import entry_digest
from maestro.security.signing import PrivateKey
from maestro.security.trust import add_key, retire_key, revoke_key


class Chain:
    """An audit log with its key, trust policy and the means to tamper with it as whoever holds the database can."""

    def __init__(self, database: Database, folder: Path) -> None:
        self.database = database
        self.clock = ManualClock()
        self.decider = PrivateKey.generate()
        self.trust = add_key(TrustPolicy(), self.decider.public_pem, "decider", not_before=self.clock.now())
        self.file = folder / "audit-heads.jsonl"
        self.log = AuditLog(database, self.clock, self.decider, self.file)

    def fill(self, count: int) -> None:
        with self.database.begin() as connection:
            for number in range(count):
                self.clock.sleep(0.25)
                self.log.append(
                    connection,
                    actor="human:ada",
                    action="rollout.step" if number % 2 else "approval.grant",
                    subject=f"version/churn@1.{number}.0",
                    data={"from": number, "share": number / 7, "note": None, "text": "ü"},
                )

    def verify(self) -> AuditReport:
        return self.log.verify(self.trust)

    def kinds(self) -> set[str]:
        return {problem.kind for problem in self.verify().problems}

    def tamper(self, act: Callable[[Connection], object]) -> None:
        with self.database.begin() as connection:
            act(connection)

    def rewrite(self, seq: int, values: dict[str, object]) -> None:
        self.tamper(
            lambda connection: connection.execute(update(audit_log).where(audit_log.c.seq == seq).values(values))
        )

    def rechain(self, connection: Connection, start: int = 1) -> None:
        """Compute every digest again from entry `start` on, as a forger without the decider's key would."""
        prev: Digest = "sha256:" + "0" * 64
        for row in connection.execute(select(audit_log).order_by(audit_log.c.seq)).mappings().all():
            content = {name: value for name, value in row.items() if name != "entry_digest"}
            content |= {"at": format_time(row["at"])}
            if row["seq"] >= start:
                content["prev"] = prev
            prev = entry_digest(content)
            connection.execute(
                update(audit_log).where(audit_log.c.seq == row["seq"]).values(prev=content["prev"], entry_digest=prev)
            )


@pytest.fixture
def chain(database: Database, tmp_path: Path) -> Chain:
    return Chain(database, tmp_path)


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


@pytest.mark.shows("K5", env="laptop")
def test_an_edit_is_found_at_its_entry(chain: Chain) -> None:
    chain.fill(120)
    edits: list[tuple[str, object]] = [
        ("actor", "human:eve"),
        ("action", "approval.refuse"),
        ("subject", "version/churn@9.9.9"),
        ("outcome", "refused"),
        ("data", {"from": 1}),
        ("data", {"from": 41, "share": 41 / 7, "text": "ü"}),
        ("at", chain.clock.now()),
    ]
    with chain.database.read() as connection:
        before = connection.execute(select(audit_log).where(audit_log.c.seq == 42)).mappings().one()
    for column, value in edits:
        chain.rewrite(42, {column: value})
        problems = chain.verify().problems
        assert [(problem.kind, problem.seq) for problem in problems] == [("edited", 42)], column
        chain.rewrite(42, {column: before[column]})
    assert chain.verify().ok


def test_a_row_that_cannot_be_read_is_found(sqlite_database: Database, tmp_path: Path) -> None:
    chain = Chain(sqlite_database, tmp_path)
    chain.fill(5)
    chain.tamper(lambda c: c.execute(text("UPDATE audit_log SET data = '{' WHERE seq = 3")))
    assert [(problem.kind, problem.seq) for problem in chain.verify().problems] == [("edited", 3)]


def test_an_edit_with_its_own_digest_made_good_breaks_the_link(chain: Chain) -> None:
    chain.fill(50)

    def act(connection: Connection) -> None:
        connection.execute(update(audit_log).where(audit_log.c.seq == 20).values(actor="human:eve"))
        row = connection.execute(select(audit_log).where(audit_log.c.seq == 20)).mappings().one()
        content = {name: value for name, value in row.items() if name != "entry_digest"}
        content["at"] = format_time(row["at"])
        connection.execute(update(audit_log).where(audit_log.c.seq == 20).values(entry_digest=entry_digest(content)))

    chain.tamper(act)
    assert [(problem.kind, problem.seq) for problem in chain.verify().problems] == [("reordered", 21)]


@pytest.mark.shows("K5", env="laptop")
def test_reordering_is_found(chain: Chain) -> None:
    chain.fill(10)

    def swap(connection: Connection) -> None:
        for old, new in ((4, 1000), (5, 4), (1000, 5)):
            connection.execute(update(audit_log).where(audit_log.c.seq == old).values(seq=new))

    chain.tamper(swap)
    found = {(problem.kind, problem.seq) for problem in chain.verify().problems}
    assert {("reordered", 4), ("edited", 4), ("edited", 5)} <= found


@pytest.mark.shows("K5", env="laptop")
@pytest.mark.parametrize(("gone", "where"), [(range(1, 4), 1), (range(5, 6), 5), (range(50, 60), 50)])
def test_deletion_is_found_where_it_was(chain: Chain, gone: range, where: int) -> None:
    chain.fill(80)
    chain.tamper(lambda c: c.execute(delete(audit_log).where(audit_log.c.seq.in_(list(gone)))))
    first = chain.verify().problems[0]
    assert (first.kind, first.seq) == ("deleted", where)


@pytest.mark.shows("K5", env="laptop")
def test_truncation_is_found_even_when_the_heads_in_the_database_go_too(chain: Chain) -> None:
    chain.fill(150)
    chain.tamper(lambda c: c.execute(delete(audit_log).where(audit_log.c.seq > 90)))
    first = chain.verify().problems[0]
    assert (first.kind, first.seq) == ("truncated", 91)
    chain.tamper(lambda c: c.execute(delete(audit_heads).where(audit_heads.c.seq > 90)))
    assert chain.kinds() == {"truncated", "head"}
    chain.fill(30)
    assert "rebuilt" in chain.kinds() or "truncated" in chain.kinds()


@pytest.mark.shows("K5", env="laptop")
def test_a_full_rebuild_is_found(chain: Chain) -> None:
    chain.fill(150)

    def rebuild(connection: Connection) -> None:
        connection.execute(update(audit_log).where(audit_log.c.seq == 70).values(actor="human:eve"))
        chain.rechain(connection)

    chain.tamper(rebuild)
    problems = chain.verify().problems
    assert {problem.kind for problem in problems} == {"rebuilt"}
    assert [problem.seq for problem in problems] == [101]


@pytest.mark.shows("K5", env="laptop")
def test_a_rebuild_with_every_head_removed_or_forged_is_found(chain: Chain) -> None:
    chain.fill(150)

    def rebuild(connection: Connection) -> None:
        connection.execute(update(audit_log).where(audit_log.c.seq == 1).values(actor="human:eve"))
        chain.rechain(connection)
        connection.execute(delete(audit_heads))

    chain.tamper(rebuild)
    assert {"rebuilt", "head"} <= chain.kinds()  # by the file outside the database
    chain.file.unlink()
    assert chain.kinds() == {"unanchored"}
    forger = AuditLog(chain.database, chain.clock, PrivateKey.generate(), chain.file)
    with chain.database.begin() as connection:
        forger.sign_head(connection)
    assert chain.kinds() == {"head", "unanchored"}


def test_heads_that_were_changed_or_removed_are_found(chain: Chain) -> None:
    chain.fill(250)
    content = chain.file.read_bytes()
    chain.file.write_bytes(b"")
    assert chain.kinds() == {"head"}
    lines = content.splitlines(keepends=True)
    chain.file.write_bytes(lines[0] + lines[2])
    assert [(problem.kind, problem.seq) for problem in chain.verify().problems] == [("head", 101)]
    chain.file.write_bytes(lines[0] + b"{}\n" + lines[1] + lines[2])
    assert chain.kinds() == {"head"}
    chain.file.write_bytes(content)
    assert chain.verify().ok
    chain.tamper(lambda c: c.execute(update(audit_heads).where(audit_heads.c.seq == 101).values(seq=102)))
    assert chain.kinds() == {"head"}


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


def test_an_entry_that_was_slipped_in_at_the_end_is_unanchored_and_a_wrong_one_is_found(chain: Chain) -> None:
    chain.fill(3)
    row = {"actor": "human:eve", "action": "x", "subject": "s/t", "outcome": "done", "data": {}}
    chain.tamper(
        lambda c: c.execute(
            insert(audit_log).values(
                seq=4, at=chain.clock.now(), prev="sha256:" + "0" * 64, entry_digest="sha256:" + "1" * 64, **row
            )
        )
    )
    assert chain.kinds() == {"reordered", "edited"}


def test_the_file_is_readable_without_us(chain: Chain) -> None:
    """Each line is a DSSE envelope of an in-toto statement, which other tools verify."""
    import base64

    chain.fill(1)
    line = json.loads(chain.file.read_text().splitlines()[0])
    assert line["payloadType"] == "application/vnd.in-toto+json"
    statement = json.loads(base64.b64decode(line["payload"]))
    assert statement["predicateType"] == "urn:maestro:audit-head:v1"
    assert statement["subject"][0]["digest"]["sha256"] == chain.verify().head.removeprefix("sha256:")  # type: ignore[union-attr]
