"""Small SVG charts for the report: lines with bands, and bars. No script, no style sheet, nothing to load."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

COLOURS = ("#2563eb", "#d97706", "#059669", "#dc2626", "#7c3aed")
_W, _H, _LEFT, _RIGHT, _TOP, _BOTTOM = 640, 240, 64, 16, 28, 36


@dataclass(frozen=True)
class Series:
    """One line: points `(x, y)`; with `low`, a band between the two."""

    label: str
    points: Sequence[tuple[float, float]]
    low: Sequence[float] | None = None


@dataclass(frozen=True)
class Rule:
    """A horizontal line with a name."""

    label: str
    y: float


class _Scale:
    def __init__(self, values: Sequence[float], start: float, end: float) -> None:
        self.low, self.high = min(values), max(values)
        if self.high <= self.low:
            self.high = self.low + 1.0
        self._start, self._end = start, end

    def __call__(self, value: float) -> float:
        clipped = min(max(value, self.low), self.high)
        return self._start + (clipped - self.low) / (self.high - self.low) * (self._end - self._start)

    def ticks(self, count: int = 4) -> list[float]:
        step = (self.high - self.low) / count
        return [self.low + step * index for index in range(count + 1)]


def line_chart(
    title: str, series: Sequence[Series], *, x_label: str, y_label: str, rules: Sequence[Rule] = (),
    y_range: tuple[float, float] | None = None,
) -> str:  # fmt: skip
    """An SVG line chart; an empty string when there is nothing to draw."""
    xs = [x for item in series for x, _ in item.points]
    if not xs:
        return ""
    ys = [y for item in series for _, y in item.points] + [rule.y for rule in rules]
    ys += [low for item in series for low in item.low or ()]
    x_scale = _Scale(xs, _LEFT, _W - _RIGHT)
    y_scale = _Scale(y_range or ys, _H - _BOTTOM, _TOP)
    parts = [_frame(title, x_scale, y_scale, x_label, y_label)]
    for index, item in enumerate(series):
        colour = COLOURS[index % len(COLOURS)]
        if item.low is not None:
            upper = [f"{x_scale(x):.1f},{y_scale(y):.1f}" for x, y in item.points]
            lower = [f"{x_scale(x):.1f},{y_scale(low):.1f}" for (x, _), low in zip(item.points, item.low, strict=True)]
            parts.append(f'<polygon points="{" ".join(upper + lower[::-1])}" fill="{colour}" opacity="0.18"/>')
        path = " ".join(f"{x_scale(x):.1f},{y_scale(y):.1f}" for x, y in item.points)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.8"/>')
        parts.append(
            f'<text x="{_W - _RIGHT - 150 * (len(series) - 1 - index)}" y="18" text-anchor="end" fill="{colour}" font-size="12">{escape(item.label)}</text>'
        )
    for rule in rules:
        y = y_scale(rule.y)
        parts.append(
            f'<line x1="{_LEFT}" x2="{_W - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="#dc2626" stroke-dasharray="5 4"/>'
        )
        parts.append(
            f'<text x="{_W - _RIGHT}" y="{y - 4:.1f}" text-anchor="end" font-size="11" fill="#dc2626">{escape(rule.label)}</text>'
        )
    return _svg(title, parts, _H)


def bar_chart(title: str, bars: Sequence[tuple[str, float]], *, unit: str = "") -> str:
    """An SVG chart of horizontal bars; an empty string when there are none."""
    if not bars:
        return ""
    height = _TOP + 24 * len(bars) + 12
    top = max(value for _, value in bars) or 1.0
    parts = [f'<text x="8" y="18" font-size="14" font-weight="600">{escape(title)}</text>']
    for index, (label, value) in enumerate(bars):
        y = _TOP + 24 * index
        width = max(1.0, value / top * (_W - 300))
        parts.append(f'<text x="190" y="{y + 14}" text-anchor="end" font-size="12">{escape(label)}</text>')
        parts.append(f'<rect x="198" y="{y + 3}" width="{width:.1f}" height="15" rx="2" fill="{COLOURS[0]}"/>')
        parts.append(f'<text x="{204 + width:.1f}" y="{y + 15}" font-size="12">{value:,.4g} {escape(unit)}</text>')
    return _svg(title, parts, height)


def _frame(title: str, x_scale: _Scale, y_scale: _Scale, x_label: str, y_label: str) -> str:
    parts = [f'<text x="8" y="18" font-size="14" font-weight="600">{escape(title)}</text>']
    for tick in y_scale.ticks():
        y = y_scale(tick)
        parts.append(f'<line x1="{_LEFT}" x2="{_W - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="#e5e7eb"/>')
        parts.append(f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end" font-size="11">{tick:.3g}</text>')
    for tick in x_scale.ticks():
        x = x_scale(tick)
        parts.append(
            f'<text x="{x:.1f}" y="{_H - _BOTTOM + 15}" text-anchor="middle" font-size="11">{tick:,.0f}</text>'
        )
    parts.append(f'<text x="{_W / 2:.0f}" y="{_H - 6}" text-anchor="middle" font-size="12">{escape(x_label)}</text>')
    parts.append(
        f'<text x="14" y="{_H / 2:.0f}" font-size="12" text-anchor="middle" transform="rotate(-90 14 {_H / 2:.0f})">{escape(y_label)}</text>'
    )
    return "".join(parts)


def _svg(title: str, parts: Sequence[str], height: int) -> str:
    return (
        f'<svg viewBox="0 0 {_W} {height}" role="img" aria-label="{escape(title)}" xmlns="http://www.w3.org/2000/svg" '
        f'font-family="system-ui, sans-serif">{"".join(parts)}</svg>'
    )
