"""The experiment file."""

from __future__ import annotations

from pathlib import Path

import pytest

from maestro.ab_testing import load_experiment
from maestro.core.errors import BadInput, Malformed, NotFound

TEXT = """
apiVersion: maestro/v1
kind: Experiment
name: spring
champion: old
challenger: new
horizon: 10000
metrics:
  - {name: accuracy, minimum_effect: 0.02}
  - {name: latency, minimum_effect: 0.01, quantile: 0.99}
"""


def _write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "experiment.yaml"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.shows("H6", env="laptop")
def test_it_is_read_with_its_defaults(tmp_path: Path) -> None:
    experiment = load_experiment(_write(tmp_path, TEXT))
    assert experiment.mode == "always_valid"
    first, guardrail = experiment.metrics
    assert (first.compared_by, guardrail.compared_by, guardrail.higher_is_better) == ("proportion", "quantile", False)
    assert experiment.rule(first).alpha == 0.05
    assert experiment.rule(guardrail).alpha == 0.05


def test_guardrails_share_alpha_and_only_the_first_metric_stops_for_futility(tmp_path: Path) -> None:
    text = TEXT.replace("horizon", "mode: planned\nhorizon") + "  - {name: error_rate, minimum_effect: 0.01}\n"
    experiment = load_experiment(_write(tmp_path, text))
    rules = [experiment.rule(metric) for metric in experiment.metrics]
    assert [rule.alpha for rule in rules] == [0.05, 0.025, 0.025]
    assert [rule.plan is not None and rule.plan.futility is not None for rule in rules] == [True, False, False]


@pytest.mark.shows("H7", env="laptop")
def test_sample_size_follows_the_declaration(tmp_path: Path) -> None:
    experiment = load_experiment(_write(tmp_path, TEXT))
    fixed = experiment.model_copy(update={"mode": "fixed"})
    assert fixed.sample_size(baseline=0.10).champion == 3841
    assert experiment.sample_size(baseline=0.10).total > fixed.sample_size(baseline=0.10).total
    latency = fixed.model_copy(update={"metrics": (experiment.metrics[1],)})
    with pytest.raises(BadInput, match="inside"):
        experiment.sample_size(baseline=0.99)
    with pytest.raises(BadInput, match="quantiles"):
        latency.sample_size(baseline=0.0, sd=0.01)


@pytest.mark.parametrize(
    ("old", "new", "field"),
    [
        ("horizon: 10000", "horison: 10000", "horizon"),
        ("challenger: new", "challenger: old", "document"),
        ("name: accuracy", "name: beauty", "metrics.0.name"),
        ("minimum_effect: 0.02", "minimum_effect: 0", "metrics.0.minimum_effect"),
        (
            "{name: accuracy, minimum_effect: 0.02}",
            "{name: accuracy, minimum_effect: 0.02, statistic: mean}",
            "metrics.0",
        ),
    ],
)
def test_a_typo_names_the_field(tmp_path: Path, old: str, new: str, field: str) -> None:
    with pytest.raises(BadInput) as caught:
        load_experiment(_write(tmp_path, TEXT.replace(old, new)))
    assert caught.value.field == field
    assert caught.value.remedy


def test_no_file_or_no_yaml(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        load_experiment(tmp_path / "none.yaml")
    with pytest.raises(Malformed):
        load_experiment(_write(tmp_path, "a: [}"))
