"""Prometheus rules from the SLO file: multi-window, multi-burn-rate alerts (B. Beyer et al., The Site Reliability Workbook, 2018, chapter 5).

An alert needs its burn rate over a long window, so that it matters, and over a short one, so that it ends soon after its cause. With little traffic one bad
event is a high share: an alert on events also needs a least number of bad ones in its long window (`maestro.ml/minimum-bad-events`, default 5).
Objectives by time slices need no such number: slices pass whether or not there is traffic. In Prometheus a slice is judged at each evaluation over the
last minute, the shortest time in which scrapes every 15 s show a rate.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from maestro.core.errors import BadInput
from maestro.operations.selector import Selector
from maestro.operations.slo import Slo, duration_seconds, slos_digest

RUNBOOK = "maestro.ml/runbook"
"""Annotation of an SLO: the runbook's name in operations/runbooks, without its end."""

MINIMUM = "maestro.ml/minimum-bad-events"
"""Annotation of an SLO: bad events in the long window below which no alert fires."""

UP = 'up{job="model-server"}'
"""The scrape of the servers that the SLOs are about."""

_RATE_S = "1m"
_DEFAULT_MINIMUM = 5


@dataclass(frozen=True)
class Burn:
    """One pair of windows: `budget` of a 30-day budget spent in `long` is what it takes to fire."""

    severity: str
    long: str
    short: str
    budget: float

    def rate(self, window_s: int) -> float:
        """How many times faster than the budget allows, for an objective over `window_s`."""
        return round(self.budget * window_s / duration_seconds(self.long), 6)


BURNS = (
    Burn("page", "1h", "5m", 0.02),
    Burn("page", "6h", "30m", 0.05),
    Burn("ticket", "1d", "2h", 0.10),
    Burn("ticket", "3d", "6h", 0.10),
)
"""The pairs of the workbook."""

WINDOWS = tuple(sorted({burn.long for burn in BURNS} | {burn.short for burn in BURNS}, key=duration_seconds))


def compile_rules(slos: Sequence[Slo]) -> dict[str, Any]:
    """The document of a Prometheus rule file.

    Raises:
        BadInput: an annotation cannot be read.
    """
    return {"groups": [_group(slo) for slo in slos]}


def rules_text(slos: Sequence[Slo]) -> str:
    """The rule file, with the digest of what it was made from."""
    head = (
        "# Made by `maestro slo compile` from operations/slo.yaml; edit that file, not this one.\n"
        f"# {slos_digest(tuple(slos))}\n"
    )
    return head + yaml.dump(compile_rules(slos), Dumper=_Plain, sort_keys=False, width=160, allow_unicode=True)


class _Plain(yaml.SafeDumper):
    """Writes a part that stands twice twice, without anchors."""

    def ignore_aliases(self, data: Any) -> bool:
        """Always."""
        return True


def _group(slo: Slo) -> dict[str, Any]:
    return {
        "name": f"slo-{slo.name}",
        "interval": "30s" if slo.slice_s is None else "15s",
        "rules": [*_recorded(slo), *_alerts(slo)],
    }


def _recorded(slo: Slo) -> Iterator[dict[str, Any]]:
    labels = {"slo": slo.name, "service": slo.spec.service}
    yield {"record": "slo:objective:ratio", "expr": f"vector({slo.target})", "labels": labels}
    if slo.slice_s is not None:
        yield {"record": "slo:slice_good:bool", "expr": _slice(slo), "labels": labels}
        for window in WINDOWS:
            good = f'avg_over_time(slo:slice_good:bool{{slo="{slo.name}"}}[{window}])'
            yield {"record": f"slo:bad_ratio:rate{window}", "expr": f"1 - {good}", "labels": labels}
        return
    for window in WINDOWS:
        bad, total = _bad(slo, "rate", window), _total(slo, "rate", window)
        # no traffic is no bad traffic: the ratio is then absent, and an absent series fires nothing
        yield {"record": f"slo:bad_ratio:rate{window}", "expr": f"{bad} / ({total} > 0)", "labels": labels}
    for window in sorted({burn.long for burn in BURNS}, key=duration_seconds):
        yield {"record": f"slo:bad:increase{window}", "expr": _bad(slo, "increase", window), "labels": labels}


def _alerts(slo: Slo) -> Iterator[dict[str, Any]]:
    runbook = slo.metadata.annotations.get(RUNBOOK, "high-latency")
    for severity, how in (("page", "Fast"), ("ticket", "Slowly")):
        pairs = [condition for burn in BURNS if burn.severity == severity for condition in _pair(slo, burn)]
        if not pairs:
            continue
        name = slo.metadata.displayName or slo.name
        yield {
            "alert": f"{_camel(slo.name)}BudgetBurns{how}",
            "expr": " or ".join(pairs),
            "for": "2m" if severity == "page" else "15m",
            "labels": {"severity": severity, "slo": slo.name, "service": slo.spec.service},
            "annotations": {
                "summary": f"{name}: the error budget burns {'fast' if severity == 'page' else 'slowly but steadily'}",
                "description": (
                    f"The objective is {slo.target:.4g}; {{{{ $value | humanizePercentage }}}} of what was looked at over "
                    "the longer window was bad."
                ),
                "runbook_url": runbook_url(runbook),
            },
        }


def _pair(slo: Slo, burn: Burn) -> Iterator[str]:
    """The condition of one pair of windows; none where the threshold would be a share above one, which nothing reaches."""
    threshold = round(burn.rate(slo.window_s) * (1.0 - slo.target), 9)
    if threshold >= 1.0:
        return
    of = f'{{slo="{slo.name}"}}'
    parts = [
        f"slo:bad_ratio:rate{burn.long}{of} > {threshold:.9g}",
        f"slo:bad_ratio:rate{burn.short}{of} > {threshold:.9g}",
    ]
    if slo.slice_s is None:
        parts.append(f"slo:bad:increase{burn.long}{of} >= {_minimum(slo)}")
    yield "(" + " and ".join(parts) + ")"


def _slice(slo: Slo) -> str:
    """1 for a good slice, 0 for a bad one: a server that does not answer makes it bad, a time without traffic does not."""
    share = slo.spec.objectives[0].timeSliceTarget
    good = f"1 - {_bad(slo, 'rate', _RATE_S)} / ({_total(slo, 'rate', _RATE_S)} > 0)"
    return f"(({good}) >= bool {share}) * on() max({UP}) or max({UP}) or vector(0)"


def _bad(slo: Slo, function: str, window: str) -> str:
    part, total, counts_bad = slo.counters
    if counts_bad:
        # a status that never occurred has no series: none of them is none, not unknown
        return f"(sum({function}({_text(part)}[{window}])) or 0 * sum({function}({_text(total)}[{window}])))"
    return (
        f"(sum({function}({_text(total)}[{window}])) - "
        f"(sum({function}({_text(part)}[{window}])) or 0 * sum({function}({_text(total)}[{window}]))))"
    )


def _total(slo: Slo, function: str, window: str) -> str:
    return f"sum({function}({_text(slo.counters[1])}[{window}]))"


def _text(selector: Selector) -> str:
    matchers = ",".join(f'{label}{operator}"{_escaped(value)}"' for label, operator, value in selector.matchers)
    return f"{selector.name}{{{matchers}}}" if matchers else selector.name


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"')


def _minimum(slo: Slo) -> int:
    text = slo.metadata.annotations.get(MINIMUM, str(_DEFAULT_MINIMUM))
    if not text.isdigit() or int(text) < 1:
        raise BadInput(
            f"SLO {slo.name}: {MINIMUM} is {text!r}",
            field=f"metadata.annotations.{MINIMUM}",
            remedy="give a whole number from 1",
        )
    return int(text)


def runbook_url(name: str) -> str:
    """Where a runbook is read: the installation says in which place (`external_labels.runbooks` of prometheus.yml)."""
    return f"{{{{ $externalLabels.runbooks }}}}/{name}-runbook.md"


def _camel(name: str) -> str:
    """`latency-p95` as `LatencyP95`."""
    return "".join(part[:1].upper() + part[1:] for part in name.split("-"))
