"""Open Inference Protocol, version 2: server and model metadata, model readiness."""

from __future__ import annotations

from importlib.metadata import version
from typing import Annotated

from fastapi import APIRouter, Header, Path

from maestro.core.errors import NotFound
from maestro.serving.protocols.documents import ModelMetadata, ReadyDocument, ServerMetadata, TensorMetadata
from maestro.serving.protocols.open_inference import metadata_inputs, metadata_outputs
from maestro.serving.protocols.problems import documented
from maestro.serving.served import ServedGraph
from maestro.serving.server import ModelServer

ModelName = Annotated[str, Path(min_length=1, max_length=128)]
VersionName = Annotated[str, Path(min_length=1, max_length=128)]
Authorization = Annotated[str | None, Header(include_in_schema=False)]


def metadata_routes(server: ModelServer) -> APIRouter:
    """The routes; they follow the data port's authentication."""
    router = APIRouter(tags=["open inference"])

    @router.get("/v2", responses=documented(401))
    @router.get("/v2/", responses=documented(401), include_in_schema=False)
    async def metadata(authorization: Authorization = None) -> ServerMetadata:
        """What this server is."""
        server.auth.data(authorization)
        return ServerMetadata(
            name="maestro", version=version("maestro-ml"), extensions=["binary_tensor_data", "model_repository"]
        )

    @router.get("/v2/models/{model}", responses=documented(401, 404, 422))
    async def model_metadata(model: ModelName, authorization: Authorization = None) -> ModelMetadata:
        """A model's versions and tensors."""
        server.auth.data(authorization)
        return _metadata(server.plane.served(model))

    @router.get("/v2/models/{model}/versions/{version}", responses=documented(401, 404, 422))
    async def version_metadata(
        model: ModelName, version: VersionName, authorization: Authorization = None
    ) -> ModelMetadata:
        """The same, for a version that is loaded."""
        server.auth.data(authorization)
        served = server.plane.served(model)
        _require(served, version)
        return _metadata(served)

    @router.get("/v2/models/{model}/ready", responses=documented(401, 404, 422))
    async def model_ready(model: ModelName, authorization: Authorization = None) -> ReadyDocument:
        """200 when the model is served."""
        server.auth.data(authorization)
        server.plane.served(model)
        return ReadyDocument(ready=True, unsigned_allowed=server.options.serving.allow_unsigned)

    @router.get("/v2/models/{model}/versions/{version}/ready", responses=documented(401, 404, 422))
    async def version_ready(
        model: ModelName, version: VersionName, authorization: Authorization = None
    ) -> ReadyDocument:
        """200 when the version is loaded in the model's graph."""
        server.auth.data(authorization)
        _require(server.plane.served(model), version)
        return ReadyDocument(ready=True, unsigned_allowed=server.options.serving.allow_unsigned)

    return router


def _metadata(served: ServedGraph) -> ModelMetadata:
    contract = served.contract
    platforms = {loaded.runtime.kind for loaded in served.versions.values()} or {"remote"}
    return ModelMetadata(
        name=served.model,
        versions=sorted({loaded.version for loaded in served.versions.values()}),
        platform="maestro_" + "_".join(sorted(platforms)),
        inputs=[TensorMetadata(**tensor) for tensor in metadata_inputs(contract)],
        outputs=[TensorMetadata(**tensor) for tensor in metadata_outputs(contract)],
    )


def _require(served: ServedGraph, version: str) -> None:
    known = {loaded.version for loaded in served.versions.values()}
    if version not in known:
        raise NotFound(
            f"model {served.model!r} has no version {version!r} loaded",
            field="version",
            remedy=f"ask for one of: {', '.join(sorted(known))}",
        )
