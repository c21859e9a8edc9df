"""The report's charts are well-formed, drawn to scale, and carry their labels."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree

from maestro.lifecycle.demo.charts import Rule, Series, bar_chart, line_chart

_SVG = "{http://www.w3.org/2000/svg}"


def test_a_rising_line_rises() -> None:
    svg = line_chart(
        "t", [Series("a & b", [(0, 0.0), (1, 1.0)])], x_label="x", y_label="y", rules=[Rule("margin", 0.5)]
    )
    root = ElementTree.fromstring(svg)  # noqa: S314 - we wrote it
    line = root.find(f"{_SVG}polyline")
    assert line is not None
    (x0, y0), (x1, y1) = (tuple(map(float, point.split(","))) for point in line.attrib["points"].split())
    assert x1 > x0
    assert y1 < y0, "up is a smaller y"
    texts = [text.text for text in root.iter(f"{_SVG}text")]
    assert "a & b" in texts
    assert "margin" in texts


def test_nothing_to_draw_is_nothing() -> None:
    assert line_chart("t", [], x_label="x", y_label="y") == ""
    assert bar_chart("t", []) == ""


def test_bars_are_in_proportion() -> None:
    root = ElementTree.fromstring(bar_chart("t", [("half", 5.0), ("whole", 10.0)], unit="s"))  # noqa: S314 - we wrote it
    half, whole = (float(bar.attrib["width"]) for bar in root.iter(f"{_SVG}rect"))
    assert abs(whole - 2 * half) < 0.2


def test_a_constant_series_is_drawn() -> None:
    svg = line_chart("flat", [Series("a", [(0, 2.0), (1, 2.0)], low=[1.0, 1.0])], x_label="x", y_label="y")
    assert ElementTree.fromstring(svg).find(f"{_SVG}polygon") is not None  # noqa: S314 - we wrote it
