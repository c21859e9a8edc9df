"""What is served and with what evidence, and the labels: always for a key with a role."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Path, Query

from maestro.core.errors import NotFound, TooLarge
from maestro.core.model import format_time
from maestro.serving.auth import ADMIN, LABELS
from maestro.serving.labels import SentLabel
from maestro.serving.protocols.documents import (
    GraphDocument,
    LabelDocument,
    LabelReceiptDocument,
    ProblemDocument,
    RefusalDocument,
    VersionDocument,
)
from maestro.serving.protocols.problems import documented
from maestro.serving.server import ModelServer

MAX_LABELS = 10_000

ModelName = Annotated[str, Path(min_length=1, max_length=128)]
Authorization = Annotated[str | None, Header(include_in_schema=False)]


def admin_routes(server: ModelServer) -> APIRouter:
    """The routes. Who asks is looked at before what is asked."""
    router = APIRouter(tags=["admin"])

    def may_look(authorization: Authorization = None) -> None:
        server.auth.require(authorization, *ADMIN)

    def may_label(authorization: Authorization = None) -> None:
        server.auth.require(authorization, *LABELS)

    look, label = [Depends(may_look)], [Depends(may_label)]

    @router.get("/admin/graphs", dependencies=look, responses=documented(401, 403))
    async def graphs() -> list[GraphDocument]:
        """Every model that is served or whose graph was refused."""
        return [_graph(server, model) for model in sorted(set(server.plane.graphs) | set(server.follower.refusals))]

    @router.get("/admin/graphs/{model}", dependencies=look, responses=documented(401, 403, 404, 422))
    async def graph(model: ModelName) -> GraphDocument:
        """The served revision of a model, the versions that are loaded, and the last refusal."""
        return _graph(server, model)

    @router.get(
        "/admin/evidence/{model}", dependencies=look, responses=documented(401, 403, 404, 422), response_model=None
    )
    async def evidence(
        model: ModelName,
        label_wait_s: Annotated[float, Query(ge=0, le=31_536_000, allow_inf_nan=False)] = 0.0,
    ) -> dict[str, Any]:
        """Raw cumulative counters of each arm, and its distinct units by how far their labels are."""
        return server.reading(model, label_wait_s).document()

    @router.post("/labels", dependencies=label, responses=documented(400, 401, 403, 404, 413, 415, 422, 503))
    async def labels(sent: list[LabelDocument]) -> LabelReceiptDocument:
        """Accept labels. They are durable when the answer says so; sending them again changes nothing."""
        if len(sent) > MAX_LABELS:
            raise TooLarge(
                f"{len(sent)} labels, at most {MAX_LABELS} are taken at once",
                field="body",
                remedy="send several batches",
            )
        receipt = await server.labels.accept(
            [SentLabel(item.model, item.entity, item.unit, item.label, item.at) for item in sent]
        )
        return LabelReceiptDocument(accepted=receipt.accepted, joined=receipt.joined, duplicates=receipt.duplicates)

    return router


def _graph(server: ModelServer, model: str) -> GraphDocument:
    served = server.follower.answering.get(model)
    refusal = server.follower.refusals.get(model)
    if served is None and refusal is None:
        raise NotFound(f"no model {model!r} is served here", field="model", remedy="write its graph file")
    previous = server.follower.previous.get(model)
    return GraphDocument(
        model=model,
        revision=None if served is None else served.revision,
        content=None if served is None else served.content,
        graph=None if served is None else served.graph.document(),
        versions=[]
        if served is None
        else [
            VersionDocument(
                node=node,
                model=loaded.model,
                version=loaded.version,
                digest=loaded.digest,
                runtime=loaded.runtime.kind,
                purpose=served.purposes[node],
                signed=loaded.signed,
            )
            for node, loaded in served.versions.items()
        ],
        arms={} if served is None else dict(served.arms),
        previous_revision=None if previous is None else previous.revision,
        refusal=None
        if refusal is None
        else RefusalDocument(
            revision=refusal.revision,
            content=refusal.content,
            at=format_time(refusal.at),
            problem=ProblemDocument(**refusal.error.problem()),
        ),
    )
