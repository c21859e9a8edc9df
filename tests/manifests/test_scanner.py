"""A security scanner (checkov) over every manifest and Dockerfile: no finding that is not explained."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.manifests.objects import FOLDERS, ROOT, partial_files

EXPLAINED: dict[str, dict[str, str]] = yaml.safe_load((ROOT / "tests/manifests/scanner.yaml").read_text())


def scan() -> list[dict[str, Any]]:
    """Failed checks."""
    checkov = shutil.which("checkov")
    if checkov is None:
        pytest.skip("no checkov on PATH: the security scan was left out")
    folders = [word for folder in FOLDERS if (ROOT / folder).is_dir() for word in ("-d", folder)]
    done = subprocess.run(
        [checkov, *folders, "--framework", "kubernetes", "dockerfile", "--skip-download", "--quiet", "--compact", "-o", "json"],
        capture_output=True, text=True, timeout=300, check=False, cwd=ROOT,
    )  # fmt: skip
    # something else may follow the document
    answer, _ = json.JSONDecoder().raw_decode(done.stdout.lstrip())
    reports = answer if isinstance(answer, list) else [answer]
    # the objects of which patches hold parts are scanned where they stand whole
    return [
        failed
        for report in reports
        for failed in report["results"]["failed_checks"]
        if Path(failed["file_path"].lstrip("/")) not in partial_files()
    ]


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_no_finding_without_an_explanation() -> None:
    left = []
    for one in scan():
        reasons = EXPLAINED.get(one["check_id"], {})
        if not any(part in f"{one['file_path']} {one['resource']}" for part in reasons):
            left.append(f"{one['check_id']} {one['check_name']}: {one['file_path']} {one['resource']}")
    assert left == []


def test_every_explanation_is_one() -> None:
    assert all(len(reason) > 20 for reasons in EXPLAINED.values() for reason in reasons.values())
