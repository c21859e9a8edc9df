"""The seam behind which a kind of model is built and judged, and what a kind or its estimator may offer beside it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from maestro.core.contract import Output

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from maestro.training.checkpoint import Checkpoints
    from maestro.training.distribution import Group
    from maestro.training.pipeline.load import Loaded
    from maestro.training.pipeline.preprocess import Prepared


class ModelType(Protocol):
    """One kind of model, such as `classifier`. Plugged in by the entry point group `maestro.model_types`.

    Obligations:
    - `build` refuses an unknown parameter with BadInput naming `params.<name>`, and takes `seed` as the only source of randomness.
    - the estimator follows scikit-learn: `fit(frame, target)`, `predict(frame)`, and `predict_proba` where the output is a classification; it does
      its own scaling, so that the model that is saved takes raw features; where training needs more than the model that is kept, `fitted` is what is kept.
    - `metrics` returns finite numbers; more is better for those named in `higher_is_better`.
    - no logging, no tracking and no lineage call: the pipeline does that.
    """

    name: str
    target_metric: str
    higher_is_better: frozenset[str]

    def check(self, target: pd.Series) -> None:
        """Refuse a target that this kind of model cannot learn.

        Raises:
            BadInput: the target has the wrong type or too few values.
        """
        ...

    def build(self, params: dict[str, Any], seed: int, *, has_missing: bool = False) -> Any:
        """An unfitted estimator; `has_missing` says that features have gaps, which it must then bear."""
        ...

    def algorithm(self, params: dict[str, Any]) -> str:
        """The algorithm that `params` choose."""
        ...

    def metrics(self, model: Any, features: pd.DataFrame, target: np.ndarray) -> dict[str, float]:
        """The model's quality on rows that it was not fitted on."""
        ...

    def output(self, model: Any) -> Output:
        """What a prediction of the fitted model is."""
        ...


@runtime_checkable
class Preparing(Protocol):
    """A kind of model with a preprocessing of its own, such as a forecast, which makes its features from the series.

    Obligations: no row of the holdout, and nothing later than it, is on the training side.
    """

    def prepare(self, loaded: Loaded, params: dict[str, Any], seed: int) -> Prepared:
        """Both sides, with float64 features."""
        ...


@runtime_checkable
class Folding(Protocol):
    """A kind of model whose rows may not be shuffled into folds."""

    def folds(self, prepared: Prepared, count: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Row numbers of the training side to fit and to test on, for each fold."""
        ...


@runtime_checkable
class Backtesting(Protocol):
    """A kind of model that is measured by repeating the past, beside its measure on the holdout."""

    def backtest(self, params: dict[str, Any], prepared: Prepared, seed: int) -> dict[str, float]:
        """Further metrics, finite, with names of their own."""
        ...


@runtime_checkable
class Resumable(Protocol):
    """An estimator that keeps checkpoints while it is fitted.

    Obligations: killed at any moment and fitted again with the same arguments it gives the same model as without the kill; it clears its checkpoints when it has ended.
    """

    def resume_from(self, checkpoints: Checkpoints) -> None:
        """Keep checkpoints there, and go on from the newest."""
        ...


@runtime_checkable
class Distributed(Protocol):
    """An estimator that several workers fit together.

    Obligations: every worker is given the same rows and takes its own share; every worker ends with the same model.
    """

    def join(self, group: Group) -> None:
        """Train with a group, which may be of one."""
        ...
