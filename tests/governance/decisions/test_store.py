"""The log of decisions: one chain, all or nothing, replayed by kind, and telling when it was touched."""

from __future__ import annotations

import threading

import pytest
from sqlalchemy import delete, select, update

from maestro.clients.database.schema.core import outbox
from maestro.clients.database.schema.governance import decisions
from maestro.clients.database.schema.operations import cost_entries
from maestro.core.canonical import digest
from maestro.core.decision import DecisionRecord, Subject, Verdict
from maestro.core.errors import NotFound
from maestro.core.policy import RolloutPolicy
from maestro.governance.decisions import code_identity, replay_all
from maestro.governance.rollouts.verdicts import HUMAN
from maestro.security.trust import load_trust
from tests.governance.conftest import Kit

SUBJECT = Subject(model="m", version="1.0.0", digest=digest("m"))


def _decide(kit: Kit, decided: str = "resume", verdict: Verdict = Verdict.KEEP_GOING) -> DecisionRecord:
    with kit.database.begin() as connection:
        return kit.governance.decisions.record(
            connection, kind=HUMAN, subject=SUBJECT, inputs={"decided": decided}, verdict=verdict, actor="human:ada"
        )


def test_records_are_chained_audited_and_told(kit_on_each: Kit) -> None:
    kit = kit_on_each
    threads = [threading.Thread(target=_decide, args=(kit,)) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    chain = kit.governance.decisions.chain()
    assert [record.prev for record in chain] == [None, *(record.id for record in chain[:-1])]
    assert all(record.is_intact() and record.code == code_identity() for record in chain)
    report = kit.governance.audit.verify(load_trust(kit.home.trust_policy))
    assert report.ok
    assert (report.entries, report.unanchored) == (6, 0)  # a head is signed at each decision
    with kit.database.read() as connection:
        told = connection.execute(select(outbox.c.data).where(outbox.c.kind == "decision.made")).scalars().all()
    assert [row["decision"] for row in told] == [record.id for record in chain]


def test_a_transaction_that_fails_leaves_nothing(kit: Kit) -> None:
    def fail() -> None:
        with kit.database.begin() as connection:
            kit.governance.decisions.record(
                connection, kind=HUMAN, subject=SUBJECT, inputs={}, verdict=Verdict.FREEZE, actor="human:ada"
            )
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert kit.governance.decisions.chain() == []
    assert kit.governance.audit.entries() == ()


def test_a_changed_record_a_removed_one_and_a_false_verdict_are_found(kit: Kit) -> None:
    first, second, third = (_decide(kit) for _ in range(3))
    wrong = _decide(kit, "rollback", Verdict.KEEP_GOING)
    reports = {report.id: report for report in replay_all(kit.governance.decisions, kit.governance.replayers)}
    assert [reports[record.id].ok for record in (first, second, third, wrong)] == [True, True, True, False]
    assert "give roll_back" in reports[wrong.id].reason
    with kit.database.begin() as connection:
        edited = second.document() | {"actor": "human:eve"}
        connection.execute(update(decisions).where(decisions.c.id == second.id).values(record=edited))
        connection.execute(delete(decisions).where(decisions.c.id == first.id))
    found = replay_all(kit.governance.decisions, kit.governance.replayers)
    assert [report.ok for report in found] == [False, True, False]
    assert "does not match its id" in found[0].reason or "continues" in found[0].reason


def test_an_unknown_kind_is_said_with_the_known_ones(kit: Kit) -> None:
    with kit.database.begin() as connection:
        record = kit.governance.decisions.record(
            connection, kind="oracle", subject=SUBJECT, inputs={}, verdict=Verdict.PASS, actor="human:ada"
        )
    report = kit.governance.replayers.replay(record, kit.governance.decisions)
    assert not report.ok
    assert "no replayer for 'oracle'; known: approval, gate, human, rollout.readiness, rollout.step" in report.reason


def test_records_are_found_by_their_first_digits(kit: Kit) -> None:
    record = _decide(kit)
    assert kit.governance.decisions.find(record.id[7:19]) == record
    with pytest.raises(NotFound):
        kit.governance.decisions.find("sha256:%")


def test_policies_are_kept_by_digest(kit: Kit, policy: RolloutPolicy) -> None:
    with kit.database.begin() as connection:
        identity = kit.governance.decisions.put_policy(connection, policy)
        assert kit.governance.decisions.put_policy(connection, policy) == identity
    assert kit.governance.decisions.policy(identity) == policy
    with pytest.raises(NotFound, match="never stored"):
        kit.governance.decisions.policy(digest("other"))


def test_a_decision_carries_what_its_version_has_cost(kit: Kit) -> None:
    version = kit.register(f1=0.8)
    with kit.database.begin() as connection:
        connection.execute(
            cost_entries.insert().values(
                at=kit.clock.now(), kind="training", subject="j1", attempt="1", tenant_id="t", wall_s=1.0, cpu_s=1.0,
                allocated={}, used_usd_micros=1, bill_usd_micros=2500, rates="2026-01",
            )
        )  # fmt: skip
        record = kit.governance.decisions.record(
            connection,
            kind=HUMAN,
            subject=version.subject,
            inputs={"decided": "edit"},
            verdict=Verdict.FREEZE,
            actor="human",
        )
    assert record.cost_usd_micros == 2500
