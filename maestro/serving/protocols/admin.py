"""What is served and with what evidence, and the labels: always for a key with a role."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Header, Path, Query, Request, Response

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
    """The routes."""
    router = APIRouter(tags=["admin"])

    @router.get("/admin/graphs", responses=documented(401, 403))
    async def graphs(authorization: Authorization = None) -> list[GraphDocument]:
        """Every model that is served or whose graph was refused."""
        server.auth.require(authorization, *ADMIN)
        return [_graph(server, model) for model in sorted(set(server.plane.graphs) | set(server.follower.refusals))]

    @router.get("/admin/graphs/{model}", responses=documented(401, 403, 404, 422))
    async def graph(model: ModelName, authorization: Authorization = None) -> GraphDocument:
        """The served revision of a model, the versions that are loaded, and the last refusal."""
        server.auth.require(authorization, *ADMIN)
        return _graph(server, model)

    @router.get("/admin/evidence/{model}", responses=documented(401, 403, 404, 422), response_model=None)
    async def evidence(
        model: ModelName,
        label_wait_s: Annotated[float, Query(ge=0, le=31_536_000, allow_inf_nan=False)] = 0.0,
        authorization: Authorization = None,
    ) -> dict[str, Any]:
        """Raw cumulative counters of each arm, and its distinct units by how far their labels are."""
        server.auth.require(authorization, *ADMIN)
        return server.reading(model, label_wait_s).document()

    @router.post("/labels", responses=documented(400, 401, 403, 404, 413, 415, 422, 503))
    async def labels(
        request: Request, response: Response, sent: list[LabelDocument], authorization: Authorization = None
    ) -> LabelReceiptDocument:
        """Accept labels. They are durable when the answer says so; sending them again changes nothing."""
        principal = server.auth.require(authorization, *LABELS)
        if len(sent) > MAX_LABELS:
            raise TooLarge(
                f"{len(sent)} labels, at most {MAX_LABELS} are taken at once",
                field="body",
                remedy="send several batches",
            )
        del principal
        receipt = await server.labels.accept(
            [SentLabel(item.model, item.entity, item.unit, item.label, item.at) for item in sent]
        )
        return LabelReceiptDocument(accepted=receipt.accepted, joined=receipt.joined, duplicates=receipt.duplicates)

    return router


def _graph(server: ModelServer, model: str) -> GraphDocument:
    served = server.plane.graphs.get(model)
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
