"""Series selectors select what Prometheus would."""

from __future__ import annotations

import pytest

from maestro.clients.exposition import parse_exposition
from maestro.core.errors import BadInput
from maestro.operations.selector import parse_selector

SAMPLES = parse_exposition(
    """
maestro_responses_total{status="200"} 90
maestro_responses_total{status="422"} 5
maestro_responses_total{status="503"} 4
maestro_responses_total{status="500"} 1
maestro_response_latency_seconds_bucket{le="0.1"} 80
maestro_response_latency_seconds_bucket{le="+Inf"} 100
"""
)


@pytest.mark.parametrize(
    ("text", "total"),
    [
        ("maestro_responses_total", 100),
        ('maestro_responses_total{status="200"}', 90),
        ('maestro_responses_total{status!="200"}', 10),
        ('maestro_responses_total{status=~"5.."}', 5),
        ('maestro_responses_total{status!~"5..",status!="422"}', 90),
        ('maestro_responses_total{status=~"5"}', 0),
        ('maestro_responses_total{absent=""}', 100),
        ('maestro_responses_total{absent!=""}', 0),
        ('maestro_response_latency_seconds_bucket{le="0.10"}', 80),
        ('maestro_response_latency_seconds_bucket{le="+Inf"}', 100),
        (" maestro_responses_total { status = \"200\" , } ", 90),
    ],
)  # fmt: skip
def test_matchers_select_by_whole_values(text: str, total: float) -> None:
    assert sum(parse_selector(text).select(SAMPLES).values()) == total


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("rate(maestro_responses_total[5m])", "no series selector"),
        ("maestro_responses_total{status=200}", "cannot read"),
        ('maestro_responses_total{status=~"5["}', "no regular expression"),
        ("up", "no part exports up"),
        ("", "no series selector"),
    ],
)
def test_what_is_no_selector_is_named(text: str, said: str) -> None:
    with pytest.raises(BadInput, match=said) as caught:
        parse_selector(text)
    assert caught.value.field == "query"
