"""What a user asks a search for."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, JsonValue, field_validator, model_validator

from maestro.core.canonical import canonical_bytes
from maestro.core.errors import BadInput
from maestro.core.jobs import MEMORY, DataSpec, Priority
from maestro.core.model import Model, Name
from maestro.training.search.spaces import Dimension, Space, space_of


class StudyRequest(Model):
    """A study. Running it again under the same name resumes it up to `n_trials` in all."""

    name: Name
    tenant_id: Name = "default"
    experiment: Name | None = Field(default=None, description="MLflow experiment; default: the study's name")
    data: DataSpec
    space: str = Field(
        default="random_forest",
        description="a built-in space, or with dimensions any kind of model, also a plugged-in one",
    )
    dimensions: dict[str, Dimension] | None = Field(
        default=None, min_length=1, description="instead of the built-in ranges of the space"
    )
    params: dict[str, JsonValue] = Field(default={}, description="of the model, beside those that are searched")
    objectives: tuple[str, ...] = Field(
        default=("accuracy",), min_length=1, max_length=3, description="metrics, or `seconds`"
    )
    minimise: tuple[str, ...] = Field(
        default=(), max_length=3, description="objectives of a plugged-in kind of model of which less is better"
    )
    n_trials: int = Field(default=20, ge=1, le=10_000)
    n_jobs: int = Field(default=1, ge=1, le=16, description="trials at once")
    backend: Name = Field(
        default="local", description="where trials run: processes beside the search, or each a job of a cluster"
    )
    trial_cpu: float = Field(default=1.0, gt=0, le=16, description="cores of a trial's job; in `local` each has one")
    trial_memory: str = Field(default="1Gi", pattern=MEMORY, description="memory of a trial's job")
    folds: int = Field(default=3, ge=2, le=10)
    timeout_s: float | None = Field(
        default=None, gt=0, le=7 * 86400, description="seconds after which no trial is started"
    )
    trial_timeout_s: float = Field(default=1800.0, gt=0, le=7 * 86400)
    sampler: Literal["frugal_tpe", "tpe", "multivariate_tpe", "gp", "cmaes", "random", "grid"] = "tpe"
    pruner: Literal["median", "hyperband", "race", "none"] = "median"
    seed: int = Field(default=0, ge=0, lt=2**31)
    cost_weight: float = Field(default=0.0, ge=0.0, le=1e6, description="score − cost_weight × cost")
    cost_unit: Literal["seconds", "usd"] = Field(
        default="seconds", description="cost of a trial: its seconds ÷ the reference, or its dollars by the rate card"
    )
    cost_reference_s: float | None = Field(
        default=None, gt=0, le=1e9, description="default: the median of the start-up trials, then frozen"
    )
    budget_usd: float | None = Field(
        default=None,
        gt=0,
        le=1e9,
        description="dollars for the trials; what one may cost at worst is set aside before it starts",
    )
    value_per_point_usd: float | None = Field(
        default=None,
        gt=0,
        le=1e9,
        description="dollars that a hundredth of score is worth; the search ends when the next trial costs more",
    )
    selection_strategy: Literal["balanced", "knee", "weighted", "lexicographic"] = "balanced"
    selection_weights: tuple[Annotated[float, Field(ge=0.0, le=1e9)], ...] | None = Field(
        default=None, min_length=1, max_length=3, description="of the objectives, for `weighted`; equal when not given"
    )
    selection_tolerance: float = Field(
        default=0.01,
        ge=0.0,
        le=1.0,
        description="share of its range that `lexicographic` gives up in an objective for the next",
    )
    priority: Priority = Priority.NORMAL

    @field_validator("params")
    @classmethod
    def _are_exact(cls, params: dict[str, JsonValue]) -> dict[str, JsonValue]:
        canonical_bytes(params)  # by which they are compared when the study is resumed
        return params

    @model_validator(mode="after")
    def _fits_together(self) -> StudyRequest:
        if len(self.objectives) > 1 and self.cost_weight > 0:
            raise ValueError("cost_weight needs a single objective; make `seconds` an objective instead")
        if len(set(self.objectives)) != len(self.objectives):
            raise ValueError("objectives must differ")
        for name in self.minimise:
            if name not in self.objectives:
                raise ValueError(f"minimise names {name!r}, which is no objective")
        if len(self.objectives) > 1 and self.value_per_point_usd is not None:
            raise ValueError("value_per_point_usd needs a single objective")
        if self.selection_weights is not None and len(self.selection_weights) != len(self.objectives):
            raise ValueError("selection_weights needs one weight for each objective")
        if self.selection_weights is not None and not sum(self.selection_weights):
            raise ValueError("selection_weights are all 0")
        if self.cost_unit == "usd" and self.cost_reference_s is not None:
            raise ValueError("cost_reference_s is for cost_unit seconds; dollars need no reference")
        if self.backend == "local" and self.trial_cpu != 1.0:
            raise ValueError("trial_cpu is for a cluster's backends; a local trial has one core")
        return self

    @property
    def search_space(self) -> Space:
        """The space with the request's own dimensions and parameters.

        Raises:
            BadInput: the space is unknown, or does not fit to dimensions and parameters.
        """
        return space_of(self.space, self.dimensions, self.params)

    @property
    def storage_name(self) -> str:
        """The study's name in Optuna, apart for each tenant."""
        return self.name if self.tenant_id == "default" else f"{self.tenant_id}/{self.name}"

    def check_resumes(self, earlier: StudyRequest) -> None:
        """Refuse to go on with trials whose scores are not comparable with those to come.

        Args:
            earlier: what the trials so far were asked for by.

        Raises:
            BadInput: it searched other data, another space or for other things; the field is named.
        """
        for field, was, now in (
            ("objectives", ", ".join(earlier.objectives), ", ".join(self.objectives)),
            ("space", earlier.space, self.space),
            ("params", canonical_bytes(earlier.params).decode(), canonical_bytes(self.params).decode()),
            ("data.feature_service", earlier.data.feature_service, self.data.feature_service),
        ):
            if was != now:
                raise BadInput(
                    f"study {self.name!r} has trials with {field} {was}, not {now}", field=field,
                    remedy="choose another name for the study",
                )  # fmt: skip
