"""The check of a batch: verdicts, quality, options."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from maestro.core.errors import BadInput
from maestro.core.seams import Alert
from maestro.monitoring.drift import DriftOptions, Reference, check_drift, load_reference, save_reference
from maestro.monitoring.drift.alerts import COLUMN_ALERTS, drift_alerts, send_alerts
from tests.monitoring.drift.conftest import make_table


def _reference(**columns: object) -> Reference:
    return Reference.of(pd.DataFrame(columns), "here") if columns else Reference.of(make_table(3000, 1), "here")


def test_moved_columns_are_found_and_the_others_are_not() -> None:
    check = check_drift(_reference(), make_table(3000, 3, moved=4), "t")
    assert check.verdict.drifted == ("x0", "x1", "x2", "x3")
    assert check.verdict.share == pytest.approx(4 / 12)
    assert check.verdict.alarm == "high"
    assert check.drift


def test_each_column_has_its_named_test_effect_bound_and_corrected_p() -> None:
    check = check_drift(_reference(), make_table(3000, 3, moved=1), "t")
    by_name = {each.column: each for each in check.verdict.columns}
    assert {each.test for name, each in by_name.items() if name.startswith("x")} == {"ks"}
    assert by_name["city"].test == by_name["member"].test == "chi2"
    assert 0 < by_name["x0"].effect_lower < by_name["x0"].effect < 0.3
    assert all(each.p_adjusted >= each.p_value for each in by_name.values())


def test_a_table_without_a_shift_is_silent() -> None:
    check = check_drift(_reference(), make_table(3000, 2), "t")
    assert not check.drift
    assert check.quality.clean
    assert drift_alerts(check) == ()


def test_identifiers_and_times_are_left_out_and_say_why() -> None:
    check = check_drift(_reference(), make_table(3000, 2), "t")
    assert set(check.skipped) == {"account", "seen"}
    assert "identifiers" in check.skipped["account"]


def test_the_target_is_judged_by_itself() -> None:
    current = make_table(3000, 3, moved=1)
    check = check_drift(_reference(), current, "t", DriftOptions(target="x0"))
    assert check.target is not None
    assert check.target.drifted == ("x0",)
    assert check.verdict.share == 0.0
    assert check.drift
    assert any("target x0" in alert.title for alert in drift_alerts(check))


@pytest.mark.shows("I7", env="laptop")
def test_thresholds_move_the_verdict() -> None:
    current = make_table(3000, 3, moved=2, by=0.15)
    assert check_drift(_reference(), current, "t", DriftOptions(material=0.01)).drift
    assert not check_drift(_reference(), current, "t", DriftOptions(material=0.2)).drift
    assert not check_drift(_reference(), current, "t", DriftOptions(threshold=1e-12)).drift


@pytest.mark.shows("A11", env="laptop")
def test_missing_values_outliers_and_new_categories_are_issues() -> None:
    current = make_table(3000, 2)
    current.loc[:299, "x0"] = np.nan
    current.loc[:299, "x1"] = 50.0
    current.loc[:299, "city"] = "oslo"
    check = check_drift(_reference(), current, "t")
    found = {(issue.column, issue.check) for issue in check.quality.issues}
    assert found == {("x0", "missing"), ("x1", "outliers"), ("city", "new_categories")}
    (issue,) = (each for each in check.quality.issues if each.column == "city")
    assert issue.examples == ("oslo",)
    assert any("data quality of 3 columns" in alert.title for alert in drift_alerts(check))


def test_a_column_that_the_reference_never_saw_is_named() -> None:
    check = check_drift(_reference(), make_table(3000, 2).assign(extra=1.0), "t")
    assert check.quality.unknown_columns == ("extra",)


@pytest.mark.parametrize(
    ("options", "flag"),
    [
        ({"threshold": 0.0}, "--drift-threshold"),
        ({"threshold": 1.5}, "--drift-threshold"),
        ({"threshold": float("nan")}, "--drift-threshold"),
        ({"material": -0.1}, "--material"),
        ({"high": 30.0}, "--alert-threshold"),
        ({"high": 0.6}, "--critical-threshold"),
    ],
)
def test_a_threshold_out_of_range_is_named(options: dict[str, float], flag: str) -> None:
    with pytest.raises(BadInput) as caught:
        DriftOptions(**options).checked()
    assert caught.value.field == flag
    assert caught.value.remedy.startswith("give a ")


def test_a_column_without_values_is_named_on_either_side() -> None:
    empty = make_table(500, 2).assign(x3=np.nan)
    with pytest.raises(BadInput, match="column x3 has no value in current data") as caught:
        check_drift(_reference(), empty, "t")
    assert caught.value.field == "x3"
    with pytest.raises(BadInput, match="column x3 has no value in the reference"):
        Reference.of(empty, "here")


def test_text_in_a_numeric_column_is_named() -> None:
    with pytest.raises(BadInput, match="column x3") as caught:
        check_drift(_reference(), make_table(500, 2).assign(x3="seven"), "t")
    assert caught.value.field == "x3"


def test_a_stored_profile_gives_the_verdict_of_its_file(tables: Path, tmp_path: Path) -> None:
    current = pd.read_parquet(tables / "some.parquet")
    direct = load_reference(tables / "reference.parquet", "r")
    save_reference(direct, tmp_path / "reference.json")
    stored = load_reference(tmp_path / "reference.json", "r")
    assert check_drift(stored, current, "t").verdict == check_drift(direct, current, "t").verdict
    assert len(stored.sample) == 3000
    some = load_reference(tmp_path / "reference.json", "r", columns=["x9", "x0"])
    assert list(some.types.kinds) == ["x9", "x0"]


def test_a_profile_whose_sample_is_another_one_is_refused(tables: Path, tmp_path: Path) -> None:
    save_reference(load_reference(tables / "reference.parquet", "r"), tmp_path / "p.json")
    (tmp_path / "p.sample.parquet").write_bytes((tables / "most.parquet").read_bytes())
    with pytest.raises(BadInput, match="is missing or is another one"):
        load_reference(tmp_path / "p.json", "r")
    document = json.loads((tmp_path / "p.json").read_text())
    (tmp_path / "q.json").write_text(json.dumps(document | {"rows": 0}))
    with pytest.raises(BadInput, match="rows"):
        load_reference(tmp_path / "q.json", "r")


@pytest.mark.shows("I3", env="laptop")
@pytest.mark.parametrize(("moved", "severity"), [(2, None), (4, "high"), (8, "critical")])
def test_the_share_sets_the_severity_and_each_column_alerts(moved: int, severity: str | None) -> None:
    check = check_drift(_reference(), make_table(3000, 3, moved=moved), "t")
    received: list[Alert] = []

    class Recorder:
        def notify(self, alert: Alert) -> bool:
            received.append(alert)
            return True

    deliveries = send_alerts(check, Recorder())
    assert all(each.delivered for each in deliveries)
    assert [alert.severity for alert in received if alert.source == "drift/t"] == ([severity] if severity else [])
    assert sorted(alert.source for alert in received if alert.source != "drift/t") == [
        f"drift/t/x{i}" for i in range(moved)
    ]


def test_a_broken_feed_is_no_flood_of_alerts() -> None:
    rng = np.random.default_rng(5)
    reference = Reference.of(pd.DataFrame({f"c{i}": rng.normal(size=500) for i in range(30)}), "here")
    check = check_drift(reference, pd.DataFrame({f"c{i}": rng.normal(3, 1, 500) for i in range(30)}), "t")
    alerts = drift_alerts(check)
    assert len([alert for alert in alerts if alert.source.startswith("drift/t/")]) == COLUMN_ALERTS
    assert any("20 more columns" in alert.title for alert in alerts)
