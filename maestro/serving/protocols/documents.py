"""The bodies of the control routes, strict: a value of the wrong type is refused, never converted."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, FiniteFloat

Text = Annotated[str, Field(min_length=1, max_length=1024)]
Whole = Annotated[int, Field(ge=-(2**63), lt=2**63)]


class Strict(BaseModel):
    """Refuses unknown members and conversions."""

    model_config = ConfigDict(strict=True, extra="forbid")


class LabelDocument(Strict):
    """One label. `entity` is the entity key (text or number) or its values by name; `unit` the value that the split sticks to."""

    model: Text
    entity: Text | Whole | dict[Text, Text | Whole] | None = None
    unit: Text | Whole | None = None
    label: Text | bool | Whole | FiniteFloat
    at: Annotated[AwareDatetime, Field(strict=False)]


class LabelReceiptDocument(BaseModel):
    """What became of a batch: all accepted are durable."""

    accepted: int
    joined: int = Field(description="met an answer")
    duplicates: int = Field(description="were here already; the first label of an entity counts")


class ProblemDocument(BaseModel):
    """RFC 9457 problem details."""

    model_config = ConfigDict(extra="allow")

    type: str
    title: str
    status: int
    detail: str
    remedy: str | None = None
    field: str | None = None


class RefusalDocument(BaseModel):
    """Why the graph file as it lies there is not served."""

    revision: int | None
    content: str | None
    at: str
    problem: ProblemDocument


class VersionDocument(BaseModel):
    """One loaded version."""

    node: str
    model: str
    version: str
    digest: str
    runtime: str
    purpose: str
    signed: bool


class GraphDocument(BaseModel):
    """What is served of a model, and why not more."""

    model: str
    revision: int | None
    content: str | None = Field(description="digest of the graph file's bytes")
    graph: dict[str, Any] | None
    versions: list[VersionDocument]
    arms: dict[str, str]
    previous_revision: int | None
    refusal: RefusalDocument | None


class HealthDocument(BaseModel):
    """The server's own view of itself."""

    status: str
    ready: bool
    unsigned_allowed: bool
    sample: bool = False
    models: dict[str, int] = Field(description="served revision by model")
    refused: list[str] = Field(description="models whose graph file is refused as it lies there")


class ReadyDocument(BaseModel):
    """Readiness; `unsigned_allowed` says that versions without signature may be loaded, `sample` that nothing was released yet."""

    ready: bool
    unsigned_allowed: bool
    sample: bool = False


class LiveDocument(ReadyDocument):
    """Liveness, and readiness beside it."""

    live: bool = True


class ServerMetadata(BaseModel):
    """Open Inference Protocol: the server."""

    name: str
    version: str
    extensions: list[str]


class TensorMetadata(BaseModel):
    """Open Inference Protocol: a tensor."""

    name: str
    datatype: str
    shape: list[int]


class ModelMetadata(BaseModel):
    """Open Inference Protocol: a model."""

    name: str
    versions: list[str]
    platform: str
    inputs: list[TensorMetadata]
    outputs: list[TensorMetadata]
