"""`maestro slo compile`: the rules of the checkout are those of its SLO file, and what they say follows from it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from maestro.cli.main import main
from maestro.core.errors import BadInput
from maestro.operations.slo import load_slos, parse_slos
from maestro.operations.slo_rules import BURNS, MINIMUM, compile_rules

ROOT = Path(__file__).parents[2]
FILE = ROOT / "operations/slo.yaml"


@pytest.mark.shows("F8", "J3", "L14", env="laptop")
def test_the_rules_of_the_checkout_are_current(capsys: pytest.CaptureFixture[str]) -> None:
    words = [
        "slo",
        "compile",
        "--check",
        "--json",
        "--slo-file",
        str(FILE),
        "--out",
        str(ROOT / "monitoring/alerts/slo-rules.yaml"),
    ]
    assert main(words) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["current"] is True
    assert "AvailabilityBudgetBurnsFast" in told["alerts"]


def test_a_changed_objective_is_out_of_date_until_it_is_compiled(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rules, slos = tmp_path / "rules.yaml", tmp_path / "slo.yaml"
    slos.write_text(FILE.read_text())
    common = ["slo", "compile", "--slo-file", str(slos), "--out", str(rules)]
    assert main([*common, "--check"]) == 1
    assert not rules.exists()
    assert main(common) == 0
    assert main([*common, "--check"]) == 0
    slos.write_text(FILE.read_text().replace("target: 0.99}", "target: 0.995}"))
    assert main([*common, "--check"]) == 1
    assert "out of date" in " ".join(capsys.readouterr().out.split())
    assert main(["slo", "compile", "--out", str(tmp_path / "none" / "rules.yaml")]) == 2
    assert main(["slo", "list", "--slo-file", str(slos), "--json"]) == 0


def test_thresholds_are_burn_rates_times_the_budget() -> None:
    assert [burn.rate(30 * 86400) for burn in BURNS] == [14.4, 6.0, 3.0, 1.0]
    document = compile_rules(load_slos(FILE))
    text = yaml.safe_dump(document)
    (fast,) = [
        rule["expr"]
        for group in document["groups"]
        for rule in group["rules"]
        if rule.get("alert") == "ErrorRateBudgetBurnsFast"
    ]
    assert 'slo:bad_ratio:rate1h{slo="error-rate"} > 0.0144' in fast
    assert 'slo:bad_ratio:rate5m{slo="error-rate"} > 0.0144' in fast
    assert 'slo:bad:increase1h{slo="error-rate"} >= 5' in fast
    assert "{{ $externalLabels.runbooks }}/high-latency-runbook.md" in text


def test_a_threshold_that_nothing_reaches_is_left_out() -> None:
    loose = FILE.read_text().replace("target: 0.95}", "target: 0.9}")
    rules = [rule for group in compile_rules(parse_slos(loose, "x"))["groups"] for rule in group["rules"]]
    (fast,) = [rule["expr"] for rule in rules if rule.get("alert") == "LatencyP95BudgetBurnsFast"]
    assert "rate1h" not in fast, "14.4 times a tenth is more than everything"
    assert "rate6h" in fast


def test_the_least_number_of_events_is_the_annotation() -> None:
    text = FILE.read_text().replace("maestro.ml/runbook: high-latency", f'{MINIMUM}: "20"')
    assert 'increase1h{slo="latency-p95"} >= 20' in yaml.safe_dump(compile_rules(parse_slos(text, "x")), width=1000)
    with pytest.raises(BadInput, match="minimum-bad-events"):
        compile_rules(parse_slos(text.replace('"20"', '"none"'), "x"))
