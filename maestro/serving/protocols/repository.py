"""The model repository of the Open Inference Protocol: `POST /v2/repository/index` and `…/models/{model}/{load,unload}`, always for a key with a role.

Source: https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_model_repository.md. The repository is what graphs pin: a
model that a graph serves is loaded and cannot be unloaded, and nothing else can be loaded.
"""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Body, Depends, Header, Path
from pydantic import BaseModel, ConfigDict

from maestro.core.errors import Conflict, NotFound, Refused
from maestro.serving.auth import ADMIN
from maestro.serving.protocols.problems import documented
from maestro.serving.server import ModelServer

ModelName = Annotated[str, Path(min_length=1, max_length=128)]
Authorization = Annotated[str | None, Header(include_in_schema=False)]


class IndexQuestion(BaseModel):
    """Which models: all, or those that are ready."""

    model_config = ConfigDict(strict=True)

    ready: bool = False
    repository_name: str | None = None


class ModelQuestion(BaseModel):
    """What to load with."""

    model_config = ConfigDict(strict=True)

    parameters: dict[str, Any] | None = None
    repository_name: str | None = None


class IndexEntry(BaseModel):
    """One version of one model."""

    name: str
    version: str = ""
    state: str
    reason: str = ""


class Done(BaseModel):
    """Nothing to say."""


def repository_routes(server: ModelServer) -> APIRouter:
    """The routes. Who asks is looked at before what is asked."""
    # Official clients name no content type here.
    router = APIRouter(tags=["open inference"], strict_content_type=False)

    def may_look(authorization: Authorization = None) -> None:
        server.auth.require(authorization, *ADMIN)

    look = [Depends(may_look)]
    refusals = documented(400, 401, 403, 404, 409, 413, 415, 422)

    @router.post("/v2/repository/index", dependencies=look, responses=refusals)
    async def index(sent: Annotated[IndexQuestion | None, Body()] = None) -> list[IndexEntry]:
        """Every version that is loaded, and unless only ready ones are asked for every model whose graph is refused."""
        asked = sent or IndexQuestion()
        _only_here(asked.repository_name)
        found = [
            IndexEntry(name=model, version=loaded.version, state="READY")
            for model, served in sorted(server.plane.graphs.items())
            for loaded in served.versions.values()
        ]
        if not asked.ready:
            found += [
                IndexEntry(name=model, state="UNAVAILABLE", reason=refusal.error.detail)
                for model, refusal in sorted(server.follower.refusals.items())
                if model not in server.plane.graphs
            ]
        return found

    @router.post("/v2/repository/models/{model}/load", dependencies=look, responses=refusals)
    async def load(model: ModelName, sent: Annotated[ModelQuestion | None, Body()] = None) -> Done:
        """200 when a graph serves the model as its file says."""
        asked = sent or ModelQuestion()
        _only_here(asked.repository_name)
        refusal = server.follower.refusals.get(model)
        if refusal is not None:
            raise Conflict(
                f"model {model!r} is refused: {refusal.error.detail}",
                field="model_name",
                remedy=refusal.error.remedy or "correct its graph",
            )
        if model not in server.plane.graphs:
            raise Refused(
                f"no graph pins model {model!r}",
                field="model_name",
                remedy="write a graph that pins a version by its digest; the server loads what graphs pin, and nothing else",
            )
        if asked.parameters:
            raise Refused(
                "a model's files and settings are not taken over this port",
                field="parameters",
                remedy="register a version and pin it in the graph",
            )
        return Done()

    @router.post("/v2/repository/models/{model}/unload", dependencies=look, responses=refusals)
    async def unload(model: ModelName, sent: Annotated[ModelQuestion | None, Body()] = None) -> Done:
        """Refused for a model that a graph serves; 200 for any other, which is not loaded."""
        _only_here((sent or ModelQuestion()).repository_name)
        if model in server.plane.graphs:
            raise Refused(
                f"the graph of {model!r} pins its versions: they stay loaded as long as it does",
                field="model_name",
                remedy="write a graph that names them no more",
            )
        return Done()

    return router


def _only_here(repository: str | None) -> None:
    if repository:
        raise NotFound(
            f"there is no repository {repository[:128]!r}",
            field="repository_name",
            remedy="leave it empty: this server has one",
        )
