"""The decision record: what was decided, from which inputs, by which code, chained to the one before."""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Literal, Self

from pydantic import ConfigDict, Field

from maestro.core.canonical import digest
from maestro.core.model import Digest, Model, Name, Time


class Verdict(StrEnum):
    """Every verdict a decision can give. The first four are a rollout's; `freeze` waits for a person or for data."""

    PROMOTE = "promote"
    ROLL_BACK = "roll_back"
    KEEP_GOING = "keep_going"
    UNDECIDED = "undecided_at_budget"
    FREEZE = "freeze"
    PASS = "pass"  # noqa: S105 - a verdict, not a password
    FAIL = "fail"
    DRIFT = "drift"
    NO_DRIFT = "no_drift"


class Subject(Model):
    """The version a decision is about."""

    model: Name
    version: str
    digest: Digest


class DecisionRecord(Model):
    """One decision, sealed by the digest of everything in it but `id`."""

    model_config = ConfigDict(ser_json_inf_nan="constants")  # NaN must reach the digest, which refuses it

    schema_: Literal["maestro.decision/1"] = Field(default="maestro.decision/1", alias="schema")
    id: Digest
    kind: str = Field(description="dotted name: rollout.step, gate, drift, slo, ab.analysis, human")
    at: Time
    subject: Subject
    policy: Digest | None = None
    code: str = Field(description="package version + lock digest")
    inputs: dict[str, Any]
    verdict: Verdict
    reasons: tuple[dict[str, Any], ...] = ()
    state: dict[str, Any] = Field(default_factory=dict, description="what the next decision of the chain starts from")
    actor: str
    cost_usd_micros: int = 0
    prev: Digest | None = None

    @classmethod
    def seal(cls, **fields: Any) -> Self:
        """Build a record and set its `id`.

        Raises:
            ValueError: a field holds NaN or an infinity, which a record cannot carry.
        """
        fields.pop("id", None)
        placeholder = cls(id="sha256:" + "0" * 64, **fields)
        return placeholder.model_copy(update={"id": placeholder.content_digest()})

    def content_digest(self) -> str:
        """The digest that `id` must equal."""
        document = self.document()
        document.pop("id")
        return digest(document)

    def is_intact(self) -> bool:
        """Whether `id` still matches the content."""
        return self.id == self.content_digest()
