"""Lineage as a picture: a layered SVG, and an HTML page around it that needs nothing else."""

from __future__ import annotations

from html import escape

from maestro.governance.lineage.model import LAYERS, LineageGraph, LineageNode
from maestro.governance.lineage.tree import describe

_WIDTH, _HEIGHT, _GAP_X, _GAP_Y, _MARGIN, _HEAD = 210, 54, 60, 22, 20, 34
_COLOURS = {"data": "#dbeafe", "features": "#dcfce7", "run": "#fef3c7", "version": "#fde2e4", "deployment": "#e9d5ff"}


def svg(graph: LineageGraph) -> str:
    """A column a layer, a curve an edge; the facts of a node show when it is pointed at."""
    columns = {kind: list(graph.find(kind)) for kind in LAYERS}
    shown = [kind for kind in LAYERS if columns[kind]]
    tallest = max((len(columns[kind]) for kind in shown), default=0)
    width = 2 * _MARGIN + len(shown) * _WIDTH + max(0, len(shown) - 1) * _GAP_X
    height = 2 * _MARGIN + _HEAD + tallest * _HEIGHT + max(0, tallest - 1) * _GAP_Y
    places: dict[str, tuple[float, float]] = {}
    for column, kind in enumerate(shown):
        nodes = columns[kind]
        used = len(nodes) * _HEIGHT + (len(nodes) - 1) * _GAP_Y
        top = _MARGIN + _HEAD + (height - 2 * _MARGIN - _HEAD - used) / 2
        for row, node in enumerate(nodes):
            places[node.id] = (_MARGIN + column * (_WIDTH + _GAP_X), top + row * (_HEIGHT + _GAP_Y))
    heads = [
        f'<text x="{_MARGIN + column * (_WIDTH + _GAP_X)}" y="{_MARGIN + 14}" class="head">{kind}</text>'
        for column, kind in enumerate(shown)
    ]
    edges = [_edge(places[edge.source], places[edge.target]) for edge in graph.edges]
    boxes = [_box(node, *places[node.id]) for node in graph.nodes]
    style = (
        "text{font-family:system-ui,sans-serif;font-size:12px;fill:#1f2937}.head{font-size:11px;fill:#6b7280;"
        "text-transform:uppercase}.fact{font-size:10px;fill:#4b5563}path{fill:none;stroke:#9ca3af;stroke-width:1.5}"
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height:g}" width="{width}" height="{height:g}" '
        f'role="img" aria-label="lineage"><style>{style}</style>{"".join(heads + edges + boxes)}</svg>'
    )


def html(graph: LineageGraph, title: str) -> str:
    """A page with the picture and, below it, every node with its facts."""
    rows = "".join(
        f"<tr><td>{escape(node.kind)}</td><td>{escape(node.name)}</td><td>{_facts(node)}</td></tr>"
        for node in graph.nodes
    )
    style = (
        "body{font-family:system-ui,sans-serif;margin:2rem;color:#1f2937}table{border-collapse:collapse;margin-top:1rem}"
        "td,th{border-bottom:1px solid #e5e7eb;padding:.4rem .8rem;text-align:left;vertical-align:top;font-size:13px}"
        "dl{margin:0;display:grid;grid-template-columns:max-content 1fr;gap:0 .8rem}dt{color:#6b7280}dd{margin:0;word-break:break-all}"
    )
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title><style>{style}</style></head>'
        f"<body><h1>{escape(title)}</h1>{svg(graph)}<table><tr><th>kind</th><th>name</th><th>facts</th></tr>{rows}</table></body></html>\n"
    )


def _edge(source: tuple[float, float], target: tuple[float, float]) -> str:
    x1, y1, x2, y2 = source[0] + _WIDTH, source[1] + _HEIGHT / 2, target[0], target[1] + _HEIGHT / 2
    bend = max(_GAP_X / 2, (x2 - x1) / 2)
    return f'<path d="M{x1:g},{y1:g} C{x1 + bend:g},{y1:g} {x2 - bend:g},{y2:g} {x2:g},{y2:g}"/>'


def _box(node: LineageNode, x: float, y: float) -> str:
    line = describe(node).removeprefix(f"{node.kind} {node.name}").strip(" ()")
    return (
        f'<g><title>{escape(describe(node))}</title><rect x="{x:g}" y="{y:g}" width="{_WIDTH}" height="{_HEIGHT}" rx="6" '
        f'fill="{_COLOURS[node.kind]}" stroke="#9ca3af"/><text x="{x + 10:g}" y="{y + 22:g}">{escape(_cut(node.name, 30))}</text>'
        f'<text x="{x + 10:g}" y="{y + 40:g}" class="fact">{escape(_cut(line, 38))}</text></g>'
    )


def _facts(node: LineageNode) -> str:
    parts = "".join(f"<dt>{escape(str(key))}</dt><dd>{escape(str(value))}</dd>" for key, value in node.facts.items())
    return f"<dl>{parts}</dl>"


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"
