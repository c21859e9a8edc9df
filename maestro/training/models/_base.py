"""The seam behind which a kind of model is built and judged."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from maestro.core.contract import Output

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd


class ModelType(Protocol):
    """One kind of model, such as `classifier`. Plugged in by the entry point group `maestro.model_types`.

    Obligations:
    - `build` refuses an unknown parameter with BadInput naming `params.<name>`, and takes `seed` as the only source of randomness.
    - the estimator follows scikit-learn: `fit(frame, target)`, `predict(frame)`, and `predict_proba` where the output is a classification; it does
      its own scaling, so that the model that is saved takes raw features.
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
