"""What verifying the audit chain finds: edits, reordering, deletion, truncation, a full rebuild."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import Connection, delete, insert, select, text, update

from maestro.clients.database import Database
from maestro.clients.database.schema.security import audit_heads, audit_log
from maestro.core.model import format_time
from maestro.security.audit import AuditLog
from maestro.security.audit.verify import entry_digest
from maestro.security.signing import PrivateKey
from tests.security.audit_chain import Chain


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
