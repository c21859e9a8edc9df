"""Which part of a semantic version a new version raises."""

from __future__ import annotations

from collections.abc import Mapping

from maestro.core.contract import ModelContract
from maestro.core.versions import Bump

PRIMARY_METRICS: tuple[tuple[str, bool], ...] = (
    ("f1", True),
    ("accuracy", True),
    ("roc_auc", True),
    ("r2", True),
    ("rmse", False),
    ("mae", False),
    ("mape", False),
)
"""The offline metrics that tell an improvement, by precedence, with whether higher is better."""


def bump_of(
    before: ModelContract, after: ModelContract, metrics_before: Mapping[str, float], metrics_after: Mapping[str, float]
) -> Bump:
    """Major when callers would break, minor when the contract grew or the first metric both have improved, else patch.

    The ranges that training saw change with every retraining; they are no change of the contract.

    >>> from maestro.core.contract import Feature, Output
    >>> one = ModelContract.build((Feature(name="a"),), Output(kind="regression"))
    >>> two = ModelContract.build((Feature(name="b"),), Output(kind="regression"))
    >>> bump_of(one, two, {}, {}).name, bump_of(one, one, {"rmse": 2.0}, {"rmse": 1.0}).name, bump_of(one, one, {}, {}).name
    ('MAJOR', 'MINOR', 'PATCH')
    """
    if before.breaks(after):
        return Bump.MAJOR
    if _shape(before) != _shape(after) or _improved(metrics_before, metrics_after):
        return Bump.MINOR
    return Bump.PATCH


def _shape(contract: ModelContract) -> tuple[object, ...]:
    features = tuple((feature.name, feature.nullable, feature.pii) for feature in contract.features)
    return features, contract.feature_service, contract.on_out_of_range


def _improved(before: Mapping[str, float], after: Mapping[str, float]) -> bool:
    for name, higher_is_better in PRIMARY_METRICS:
        if name in before and name in after:
            return after[name] > before[name] if higher_is_better else after[name] < before[name]
    return False
