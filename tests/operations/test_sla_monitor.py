"""The SLA report from recorded metrics: what was promised, recorded, and what is not known."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from maestro.cli.console import invoke
from maestro.cli.sla import app, script_app
from maestro.clients.database import Database, migrate, open_database
from maestro.clients.exposition import parse_exposition
from maestro.core.clock import ManualClock
from maestro.core.decision import DecisionRecord, Verdict
from maestro.core.errors import BadInput, Unreachable
from maestro.operations.rollups import SloRecorder
from maestro.operations.sla_monitor import SLAMonitor, replay_slo, slo_decision
from maestro.operations.slo import load_slos
from maestro.operations.store import RollupStore
from tests.operations.conftest import MetricsServer

ROOT = Path(__file__).parents[2]
SLO_FILE = ROOT / "operations/slo.yaml"
START = datetime(2026, 1, 1, 10, 0, tzinfo=UTC)


def _monitor(database: Database, clock: ManualClock) -> tuple[SLAMonitor, SloRecorder]:
    monitor = SLAMonitor(database, SLO_FILE, clock=clock)
    return monitor, SloRecorder(database, monitor.slos, "http://server", clock)


def _watch(
    recorder: SloRecorder, server: MetricsServer, clock: ManualClock, looks: int, *, answers: int = 100, **kind: Any
) -> None:
    """Look every 10 s while the server answers."""
    for _ in range(looks):
        server.answer(answers, **kind)
        clock.sleep(10)
        recorder.record(clock.now(), parse_exposition(server.metrics.exposition().decode()))


def _objective(report: dict[str, Any], name: str) -> dict[str, Any]:
    found: dict[str, Any] = next(each for each in report["objectives"] if each["name"] == name)
    return found


@pytest.fixture
def begun(database: Database, server: MetricsServer) -> tuple[SLAMonitor, SloRecorder, MetricsServer, ManualClock]:
    """A recorder that has seen the server once."""
    clock = ManualClock(START)
    monitor, recorder = _monitor(database, clock)
    recorder.record(clock.now(), parse_exposition(server.metrics.exposition().decode()))
    return monitor, recorder, server, clock


Begun = tuple[SLAMonitor, SloRecorder, MetricsServer, ManualClock]


@pytest.mark.shows("L7", "I10", env="laptop")
def test_a_sound_server_is_compliant(begun: Begun) -> None:
    monitor, recorder, server, clock = begun
    _watch(recorder, server, clock, 30)
    report = monitor.generate_report(look=False)
    assert report["compliant"] is True
    assert report["verdict"] == "compliant"
    assert report["requests"] == 3000
    assert report["throughput_per_s"] == pytest.approx(10.0)
    assert report["error_rate"] == 0.0
    assert report["error_budget_left"] == 1.0
    assert report["availability"] == 1.0
    assert report["p95"] == {"lower_s": 0.01, "upper_s": 0.025}
    assert report["gap_seconds"] == 0
    (arm,) = report["models"]
    assert (arm["model"], arm["version"], arm["requests"], arm["error_rate"]) == ("m", "1.0.0", 3000, 0.0)


def test_errors_breach_the_error_rate_and_overdraw_the_budget(begun: Begun) -> None:
    monitor, recorder, server, clock = begun
    _watch(recorder, server, clock, 10)
    _watch(recorder, server, clock, 1, answers=5, status=500)
    report = monitor.generate_report(look=False)
    assert report["compliant"] is False
    assert _objective(report, "error-rate")["verdict"] == "breached"
    assert report["error_rate"] == pytest.approx(5 / 1005)
    assert report["error_budget_left"] < 0
    assert _objective(report, "availability")["good"] == 11 + 1 - 1


def test_a_slow_tail_breaches_p99_and_is_told_as_an_interval(begun: Begun) -> None:
    monitor, recorder, server, clock = begun
    _watch(recorder, server, clock, 1, answers=970)
    _watch(recorder, server, clock, 1, answers=30, seconds=3.0)
    report = monitor.generate_report(look=False)
    assert _objective(report, "latency-p95")["verdict"] == "compliant"
    assert _objective(report, "latency-p99")["verdict"] == "breached"
    assert report["p99"] == {"lower_s": 1.0, "upper_s": None}


def test_a_failed_look_is_downtime_and_events_during_it_are_not_lost(begun: Begun) -> None:
    monitor, recorder, server, clock = begun
    _watch(recorder, server, clock, 6)
    for _ in range(3):
        server.answer(100)
        clock.sleep(10)
        recorder.record(clock.now(), None)
    _watch(recorder, server, clock, 1)
    report = monitor.generate_report(look=False)
    availability = _objective(report, "availability")
    assert (availability["good"], availability["total"]) == (8, 11)
    assert availability["verdict"] == "breached"
    assert report["requests"] == 1000
    assert _objective(report, "error-rate")["gap_s"] == 0


def test_a_restart_hides_what_was_counted_before_it_and_counts_what_followed(begun: Begun) -> None:
    monitor, recorder, server, clock = begun
    _watch(recorder, server, clock, 10)
    server.restart()
    _watch(recorder, server, clock, 1, answers=40)
    report = monitor.generate_report(look=False)
    assert report["requests"] == 1040
    assert _objective(report, "error-rate")["gap_s"] == 10
    assert _objective(report, "error-rate")["verdict"] == "unknown"
    assert report["compliant"] is False


def test_time_that_nobody_watched_is_unknown_and_never_good(begun: Begun) -> None:
    monitor, recorder, server, clock = begun
    _watch(recorder, server, clock, 10)
    clock.sleep(4 * 3600)
    assert monitor.generate_report(look=False)["verdict"] == "unknown"
    server.restart()
    _watch(recorder, server, clock, 10)
    report = monitor.generate_report(look=False)
    assert report["verdict"] == "unknown"
    assert _objective(report, "error-rate")["gap_s"] >= 4 * 3600
    assert _objective(report, "availability")["gap_s"] == pytest.approx(4 * 3600, abs=20)


def test_counters_without_a_restart_tell_of_the_time_between(begun: Begun) -> None:
    monitor, recorder, server, clock = begun
    _watch(recorder, server, clock, 1)
    server.answer(500)
    clock.sleep(3 * 3600)
    recorder.record(clock.now(), parse_exposition(server.metrics.exposition().decode()))
    report = monitor.generate_report(look=False)
    assert _objective(report, "error-rate")["verdict"] == "compliant"
    assert _objective(report, "error-rate")["total"] == 600
    assert _objective(report, "availability")["verdict"] == "unknown"


def test_nothing_recorded_is_unknown(database: Database) -> None:
    report = SLAMonitor(database, SLO_FILE, clock=ManualClock(START)).generate_report(look=False)
    assert report["compliant"] is False
    assert report["verdict"] == "unknown"
    assert report["p95"] is None
    assert report["error_rate"] is None


def test_what_a_server_counted_before_the_first_look_counts_when_its_start_is_known(
    database: Database, server: MetricsServer
) -> None:
    clock = ManualClock(START)
    monitor, _ = _monitor(database, clock)
    server.answer(200)
    recorder = SloRecorder(database, monitor.slos, "http://server", clock, started=START - timedelta(seconds=90))
    recorder.record(clock.now(), parse_exposition(server.metrics.exposition().decode()))
    clock.sleep(1)
    report = monitor.generate_report(look=False)
    assert report["requests"] == 200
    assert report["throughput_per_s"] == pytest.approx(200 / 90)


def test_two_recorders_of_one_server_count_each_event_once(begun: Begun) -> None:
    monitor, recorder, server, clock = begun
    other = SloRecorder(monitor.database, monitor.slos, "http://server", clock)
    for _ in range(5):
        server.answer(100)
        clock.sleep(10)
        samples = parse_exposition(server.metrics.exposition().decode())
        recorder.record(clock.now(), samples)
        other.record(clock.now(), samples)
        clock.sleep(1)
        other.record(clock.now(), samples)
    assert monitor.generate_report(look=False)["requests"] == 500


def test_hours_are_split_where_they_end(begun: Begun) -> None:
    monitor, recorder, server, clock = begun
    clock.sleep(3600 - 5)
    _watch(recorder, server, clock, 1)
    with monitor.database.read() as connection:
        hours = RollupStore().rollups(connection, "error-rate", START, clock.now())
    assert [hour.seconds for hour in hours] == [3600.0, 5.0]
    assert [hour.total for hour in hours] == [0, 100]


def test_the_decision_is_judged_again_from_its_integers(begun: Begun) -> None:
    monitor, recorder, server, clock = begun
    _watch(recorder, server, clock, 30)
    record = DecisionRecord.seal(
        at=clock.now(), code="t", actor="system:t", **slo_decision(monitor.generate_report(look=False))
    )
    assert record.verdict is Verdict.PASS
    assert replay_slo(record) is Verdict.PASS
    _watch(recorder, server, clock, 1, answers=50, status=503)
    worse = DecisionRecord.seal(
        at=clock.now(), code="t", actor="system:t", **slo_decision(monitor.generate_report(look=False))
    )
    assert worse.verdict is Verdict.FAIL
    assert replay_slo(worse) is Verdict.FAIL
    with pytest.raises(BadInput, match="inputs of an SLO report"):
        replay_slo(worse.model_copy(update={"inputs": {"targets": {}}}))


def _platform(home: Path) -> None:
    database = open_database(f"sqlite:///{home / 'maestro.db'}")
    migrate(database)
    database.dispose()


@pytest.mark.shows("L7", "I10", env="laptop")
@pytest.mark.door
def test_the_promised_script_and_import_work(home: Path, server: MetricsServer) -> None:
    _platform(home)
    environment = {**os.environ, "MAESTRO_SERVER_URL": server.url}

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *arguments],
            capture_output=True,
            text=True,
            cwd=ROOT,
            env=environment,
            check=False,
            timeout=60,
        )

    assert run("-m", "maestro", "sla", "record", "--looks", "1").returncode == 0
    server.answer(2000)
    done = run("operations/sla-monitor.py", "--json")
    report = json.loads(done.stdout)
    assert report["requests"] == 2000
    assert (done.returncode, report["compliant"]) == (0, True), report
    server.answer(500, status=500)
    done = run("operations/sla-monitor.py")
    assert done.returncode == 1
    assert "NOT COMPLIANT" in done.stdout
    code = "from operations.sla_monitor import SLAMonitor; print(SLAMonitor().generate_report()['compliant'])"
    assert run("-c", code).stdout.strip() == "False"


def test_both_names_are_one_object() -> None:
    code = (
        "import operations.sla_monitor as a, maestro.operations.sla_monitor as b; assert a.SLAMonitor is b.SLAMonitor"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False, timeout=60).returncode == 0


@pytest.mark.door
def test_without_a_platform_the_report_says_make_up(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert invoke(script_app, "sla-monitor", ["--slo-file", str(SLO_FILE)]) == 3
    assert "make up" in capsys.readouterr().err
    with pytest.raises(Unreachable):
        SLAMonitor(slo_file=SLO_FILE)


@pytest.mark.door
@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("target: 0.999,", "target: 99.9,"), "SLO availability: spec.objectives.0.target"),
        (("maestro_responses_total{status!", "maestro_respnses_total{status!"), "no part exports maestro_respnses_total"),
        (("budgetingMethod: Timeslices", "budgetingMethod: Timeslice"), "spec.budgetingMethod"),
        (("timeSliceWindow: 10s", "timeSliceWindow: ten"), "timeSliceWindow"),
        (("name: latency-p95,", "name: latency-p99,"), "names that differ"),
        (("kind: SLO", "kind: ["), "is not YAML, line"),
        (("counter: true", "conter: true"), "ratioMetric.conter"),
    ],
)  # fmt: skip
def test_an_slo_file_with_a_typo_names_the_field(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], change: tuple[str, str], said: str
) -> None:
    _platform(home)
    file = tmp_path / "slo.yaml"
    text = SLO_FILE.read_text()
    assert change[0] in text
    file.write_text(text.replace(*change))
    assert invoke(app, "sla", ["report", "--slo-file", str(file), "--no-look"]) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("window", ["5", "1y", "-1h", "30s"])
def test_a_window_that_is_none_is_named(home: Path, capsys: pytest.CaptureFixture[str], window: str) -> None:
    _platform(home)
    assert invoke(app, "sla", ["report", "--slo-file", str(SLO_FILE), "--no-look", f"--window={window}"]) == 2
    assert "window" in capsys.readouterr().err


def test_the_promised_objectives_are_in_the_file() -> None:
    promised = {slo.name: slo.target for slo in load_slos(SLO_FILE)}
    assert promised == {"availability": 0.999, "error-rate": 0.999, "latency-p95": 0.95, "latency-p99": 0.99}
