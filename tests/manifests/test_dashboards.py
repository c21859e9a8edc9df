"""The six dashboards: provisioned, each panel with a query that parses, links to runbooks that are there."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.manifests.named import DASHBOARDS, expressions, panels
from tests.manifests.objects import ROOT


def board(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def test_there_are_six_three_of_them_for_serving() -> None:
    assert len(DASHBOARDS) == 6
    assert len([path for path in DASHBOARDS if path.parts[-3] == "monitoring"]) == 3
    assert len({board(path)["uid"] for path in DASHBOARDS}) == 6
    assert len({board(path)["title"] for path in DASHBOARDS}) == 6


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: Path(path).name)
def test_a_panel_has_a_place_a_query_and_a_source(path: Path) -> None:
    taken: set[tuple[int, int]] = set()
    for panel in panels(board(path)):
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert place["x"] + place["w"] <= 24
        assert not cells & taken, f"{panel['title']} lies on another panel"
        taken |= cells
        assert panel["title"]
        if panel["type"] not in {"row", "alertlist"}:
            assert panel["targets"], panel["title"]
            assert all(one["datasource"]["uid"] == "prometheus" and one["expr"] for one in panel["targets"])


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: Path(path).name)
def test_links_lead_to_runbooks_and_alerts_are_shown(path: Path) -> None:
    found = board(path)
    books = [re.fullmatch(r"\$\{runbooks\}/(.+)", link["url"]) for link in found["links"] if link["type"] == "link"]
    assert books
    assert all(book and (ROOT / "operations/runbooks" / book[1]).is_file() for book in books)
    assert any(panel["type"] == "alertlist" for panel in panels(found))
    assert {one["name"] for one in found["templating"]["list"]} >= {"runbooks"}


def test_every_dashboard_is_provisioned() -> None:
    given = set()
    for folder in ("monitoring", "observability"):
        body = yaml.safe_load((ROOT / folder / "kustomization.yaml").read_text())
        maps = {one["name"]: one["files"] for one in body["configMapGenerator"]}
        given |= {ROOT / folder / name for files in maps.values() for name in files if name.endswith(".json")}
    assert given == set(DASHBOARDS)
    grafana = (ROOT / "monitoring/grafana-deployment.yaml").read_text()
    assert "grafana-dashboards-serving" in grafana
    assert "grafana-dashboards-platform" in grafana
    for uid in ("prometheus", "loki", "jaeger"):
        assert f"uid: {uid}" in grafana


@pytest.mark.shows("J2", "I12", "B13", env="laptop")
@pytest.mark.door
def test_every_query_parses(tmp_path: Path) -> None:
    """In Prometheus's own parser, as rules."""
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not on PATH (see the toolchain)")
    rules = [{"record": f"query:{number}", "expr": expr} for number, (_, expr) in enumerate(expressions())]
    path = tmp_path / "queries.yaml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "queries", "rules": rules}]}))
    done = subprocess.run(
        [promtool, "check", "rules", str(path)], capture_output=True, text=True, timeout=60, check=False
    )
    places = {str(number): place for number, (place, _) in enumerate(expressions())}
    broken = [places[number] for number in re.findall(r'query:(\d+)"', done.stdout + done.stderr)]
    assert done.returncode == 0, f"{broken}\n{done.stdout}{done.stderr}"
