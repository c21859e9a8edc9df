"""Distinct entities, first answers, labels: what a rollout is judged by."""

from __future__ import annotations

import threading
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest

from maestro.core.clock import ManualClock
from maestro.core.errors import Unreachable
from maestro.core.seams import ArmReading
from maestro.serving.evidence import Evidence, Label
from maestro.serving.graph._base import Observation, Unit
from maestro.serving.metrics import ServerMetrics
from maestro.serving.table import Prediction
from maestro.serving.units import ROTATION, UnitHasher, entity_number

NONE = np.empty(0, dtype=np.uint64)


class Bench:
    """Evidence about one model with arms a (1.0.0) and b (1.1.0)."""

    def __init__(self, home: Path, clock: ManualClock, max_units: int = 1000) -> None:
        self.clock = clock
        self.hasher = UnitHasher(home / "keys" / "units.json", clock)
        self.metrics = ServerMetrics()
        self.evidence = Evidence(home / "exposures", self.hasher, self.metrics, clock, max_units=max_units)
        self.evidence.open("m", 1)

    def answer(self, arm: str, entity: str | None, value: object, *, version: str = "", revision: int = 1) -> None:
        failed = value is None
        self.evidence.observe(
            "m",
            Observation(
                arm=arm,
                version=version or {"a": "1.0.0", "b": "1.1.0"}[arm],
                revision=revision,
                experiment=None,
                propensity=0.5,
                key=None,
                units=(Unit(entity),),
                prediction=None if failed else Prediction([value]),
                batch=None,
                contract=None,
                latency_s=0.001,
                outcome="error" if failed else "ok",
            ),
        )

    def label(self, entity: str, value: str) -> tuple[int, int]:
        records, duplicates = self.evidence.accept("m", [Label(entity, value, self.clock.now())])
        self.evidence.sync_labels("m", records)
        return self.evidence.join("m", records), duplicates

    def read(self, wait_s: float = 0.0, trained: tuple[str, ...] = (), revision: int = 1) -> dict[str, ArmReading]:
        numbers = np.sort(np.array([entity_number(text) for text in trained], dtype=np.uint64))
        reading = self.evidence.reading(
            "m",
            revision=revision,
            arms=[("a", "1.0.0"), ("b", "1.1.0")],
            trained=numbers,
            label_wait_s=wait_s,
            dropped=0,
        )
        return dict(reading.arms)


@pytest.fixture
def bench(home: Path, clock: ManualClock) -> Bench:
    return Bench(home, clock)


def counts(reading: ArmReading) -> tuple[int, int, int, int]:
    return reading.exposed, reading.eligible, reading.labelled, reading.wrong


def test_the_first_answer_of_an_entity_counts_once(bench: Bench) -> None:
    for value in (1, 0, 0):
        bench.answer("a", "7", value)
    bench.answer("a", "8", 0)
    assert bench.label("7", "1") == (1, 0)
    assert bench.label("8", "1") == (1, 0)
    assert counts(bench.read()["a"]) == (2, 2, 2, 1)
    assert counts(bench.read()["b"]) == (0, 0, 0, 0)
    assert bench.metrics.labels == {("m", "1.0.0", "true"): 1, ("m", "1.0.0", "false"): 1}


def test_an_entity_that_two_versions_answered_is_judged_in_each(bench: Bench) -> None:
    bench.answer("a", "7", 1)
    bench.answer("b", "7", 0)
    bench.label("7", "1")
    assert counts(bench.read()["a"]) == (1, 1, 1, 0)
    assert counts(bench.read()["b"]) == (1, 1, 1, 1)


def test_only_answers_older_than_the_label_wait_are_eligible(bench: Bench, clock: ManualClock) -> None:
    bench.answer("a", "7", 1)
    bench.label("7", "0")
    assert counts(bench.read(wait_s=60)["a"]) == (1, 0, 0, 0)
    clock.sleep(60)
    bench.answer("a", "8", 1)
    assert counts(bench.read(wait_s=60)["a"]) == (2, 1, 1, 1)


def test_entities_that_any_version_was_trained_on_count_nowhere(bench: Bench) -> None:
    for entity in ("7", "8", "9"):
        bench.answer("a", entity, 1)
        bench.label(entity, "0")
    assert counts(bench.read(trained=("8", "9", "10"))["a"]) == (1, 1, 1, 1)
    assert bench.read(trained=("8", "9", "10"))["a"].entered == 1


def test_a_failed_attempt_is_an_exposure_and_no_answer(bench: Bench) -> None:
    bench.answer("a", "7", None)
    bench.label("7", "1")
    assert counts(bench.read()["a"]) == (1, 0, 0, 0)
    bench.answer("a", "7", 1)  # the first answer, though not the first attempt
    assert counts(bench.read()["a"]) == (1, 1, 1, 0)


def test_requests_that_name_nobody_leave_no_trace(bench: Bench) -> None:
    bench.answer("a", None, 1)
    assert counts(bench.read()["a"]) == (0, 0, 0, 0)


def test_the_first_label_of_an_entity_counts_and_repeats_change_nothing(bench: Bench) -> None:
    bench.answer("a", "7", 1)
    assert bench.label("7", "1") == (1, 0)
    assert bench.label("7", "0") == (0, 1)
    assert counts(bench.read()["a"]) == (1, 1, 1, 0)


def test_a_label_may_come_before_its_answer(bench: Bench) -> None:
    assert bench.label("7", "0") == (0, 0)
    bench.answer("a", "7", 1)
    assert counts(bench.read()["a"]) == (1, 1, 1, 1)


def test_entered_counts_each_unit_once_a_revision(bench: Bench) -> None:
    for entity in ("1", "2", "3"):
        bench.answer("a", entity, 1)
    bench.answer("b", "3", 1)
    assert (bench.read()["a"].entered, bench.read()["b"].entered) == (3, 0)
    bench.evidence.open("m", 2)
    bench.answer("b", "3", 1, revision=2)
    bench.answer("a", "1", 1, revision=1)  # began before the swap
    arms = bench.read(revision=2)
    assert (arms["a"].entered, arms["b"].entered) == (0, 1)
    assert arms["a"].exposed == 3


def test_old_units_are_forgotten_while_new_ones_come(bench: Bench) -> None:
    for entity in range(500):
        bench.answer("a", str(entity), 1)
    bench.evidence.open("m", 2)
    left = bench.evidence._models["m"].forgetting
    assert len(left) == 1000, "nothing was let go of in the switch"
    for entity in range(40):
        bench.answer("a", str(entity), 1, revision=2)
    assert len(left) == 0
    assert bench.read(revision=2)["a"].entered == 40


def test_what_was_read_in_a_thread_is_not_read_again(bench: Bench, home: Path, clock: ManualClock) -> None:
    bench.answer("a", "7", 1)
    bench.label("7", "1")
    again = Bench.__new__(Bench)
    again.clock, again.hasher, again.metrics = clock, bench.hasher, ServerMetrics()
    again.evidence = Evidence(home / "exposures", again.hasher, again.metrics, clock)
    reading = threading.Thread(target=again.evidence.read, args=("m",))
    reading.start()
    reading.join()
    for name in ("answers.jsonl", "labels.jsonl"):
        (home / "exposures" / "m" / name).unlink()
    again.evidence.open("m", 1)
    assert counts(again.read()["a"]) == (1, 1, 1, 0)


def test_everything_is_rebuilt_after_a_crash(bench: Bench, home: Path, clock: ManualClock) -> None:
    for number in range(20):
        bench.answer("ab"[number % 2], str(number), number % 3 == 0)
        if number % 4 == 0:
            bench.label(str(number), "1")
    before = bench.read()
    again = Bench(home, clock)  # nobody has closed the first
    assert {arm: counts(reading) for arm, reading in again.read().items()} == {
        arm: counts(reading) for arm, reading in before.items()
    }
    assert again.evidence.epoch != bench.evidence.epoch
    assert again.label("0", "0") == (0, 1)


def test_a_torn_last_line_is_skipped_and_closed_off(bench: Bench, home: Path, clock: ManualClock) -> None:
    bench.answer("a", "7", 1)
    bench.label("7", "1")
    for name in ("answers.jsonl", "labels.jsonl"):
        with (home / "exposures" / "m" / name).open("ab") as file:
            file.write(b'{"u":"torn')
    again = Bench(home, clock)
    again.answer("a", "8", 1)
    again.label("8", "0")
    assert counts(Bench(home, clock).read()["a"]) == (2, 2, 2, 1)


def test_a_label_that_the_disk_does_not_take_is_not_accepted(bench: Bench, home: Path) -> None:
    bench.answer("a", "7", 1)
    records, _ = bench.evidence.accept("m", [Label("7", "0", bench.clock.now())])
    bench.evidence._models["m"].labels_journal.close()
    with pytest.raises((Unreachable, OSError)):
        bench.evidence.sync_labels("m", records)
    assert counts(bench.read()["a"]) == (1, 1, 0, 0)


def test_units_are_joined_across_a_rotation_of_their_key(bench: Bench, home: Path, clock: ManualClock) -> None:
    bench.answer("a", "7", 1)
    clock.sleep(ROTATION.total_seconds() + 1)
    assert bench.hasher.rotate_if_due()
    bench.answer("a", "7", 0)
    bench.answer("a", "8", 0)
    assert bench.label("7", "1") == (1, 0)
    assert counts(bench.read()["a"]) == (2, 2, 1, 0)
    assert counts(Bench(home, clock).read()["a"]) == (2, 2, 1, 0)


def test_records_name_nobody(bench: Bench, home: Path) -> None:
    bench.answer("a", "patient-4711", 1)
    bench.label("patient-4711", "1")
    for path in (home / "exposures").rglob("*"):
        if path.is_file():
            assert b"4711" not in path.read_bytes()
            assert path.stat().st_mode & 0o077 == 0


def test_more_units_than_fit_are_dropped_and_counted(home: Path, clock: ManualClock) -> None:
    bench = Bench(home, clock, max_units=3)
    for number in range(5):
        bench.answer("a", str(number), 1)
    assert bench.read()["a"].exposed == 3
    reading = bench.evidence.reading("m", revision=1, arms=[], trained=NONE, label_wait_s=0, dropped=4)
    assert reading.dropped == 6


def test_a_reading_is_dated_by_the_servers_clock(bench: Bench, clock: ManualClock) -> None:
    clock.sleep(timedelta(hours=1).total_seconds())
    reading = bench.evidence.reading("m", revision=9, arms=[], trained=NONE, label_wait_s=0, dropped=0)
    assert reading.at == clock.now()
    assert reading.revision == 9
