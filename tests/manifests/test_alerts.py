"""Alert rules: made from the SLO file, named, with a runbook that is there, and with a firing and a silent case each (promtool)."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.manifests.objects import ROOT

ALERTS = ROOT / "monitoring/alerts"
RULE_FILES = sorted(ALERTS.glob("*-rules.yaml"))
TEST_FILES = sorted((ALERTS / "tests").glob("*.test.yaml"))


def alerts() -> Iterator[dict[str, Any]]:
    for path in RULE_FILES:
        for group in yaml.safe_load(path.read_text())["groups"]:
            yield from (rule for rule in group["rules"] if "alert" in rule)


def promtool() -> str:
    found = shutil.which("promtool")
    if found is None:
        pytest.skip("promtool is not on PATH (see the toolchain)")
    return found


def test_there_are_fifteen_and_no_name_stands_twice() -> None:
    names = [rule["alert"] for rule in alerts()]
    assert len(names) >= 15
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("rule", list(alerts()), ids=lambda rule: str(rule["alert"]))
def test_an_alert_says_how_bad_what_and_where_its_runbook_is(rule: dict[str, Any]) -> None:
    assert rule["labels"]["severity"] in {"page", "ticket"}
    assert set(rule["annotations"]) == {"summary", "description", "runbook_url"}
    place = re.fullmatch(
        r"\{\{ \$externalLabels\.runbooks \}\}/([a-z-]+-runbook\.md)", rule["annotations"]["runbook_url"]
    )
    assert place, rule["annotations"]["runbook_url"]
    runbook = ROOT / "operations/runbooks" / place[1]
    assert runbook.is_file()
    assert rule["alert"] in runbook.read_text(), f"{runbook.name} does not name {rule['alert']}"


@pytest.mark.parametrize("rule", list(alerts()), ids=lambda rule: str(rule["alert"]))
def test_an_alert_has_a_firing_and_a_silent_case(rule: dict[str, Any]) -> None:
    fires = silent = 0
    for path in TEST_FILES:
        for case in yaml.safe_load(path.read_text())["tests"]:
            for check in case.get("promql_expr_test", ()):
                if f'alertname="{rule["alert"]}"' in check["expr"]:
                    fires += bool(check["exp_samples"])
                    silent += not check["exp_samples"]
    assert fires >= 1, "no case in which it fires"
    assert silent >= 1, "no case in which it is silent"


@pytest.mark.shows("J3", "J1", env="laptop")
@pytest.mark.door
@pytest.mark.parametrize("path", TEST_FILES, ids=lambda path: Path(path).name)
def test_the_cases_hold_in_promtool(path: Path) -> None:
    done = subprocess.run(
        [promtool(), "test", "rules", str(path)], capture_output=True, text=True, timeout=110, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_promtool_accepts_every_rule() -> None:
    command = [promtool(), "check", "rules", "--lint=all", "--lint-fatal", *map(str, RULE_FILES)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
