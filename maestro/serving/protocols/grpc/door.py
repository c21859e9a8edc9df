"""The gRPC port: the protocol's calls on the server's data plane, in its event loop."""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable
from importlib.metadata import version
from typing import Any

import grpc
import grpc.aio

from maestro.core.errors import Conflict, MaestroError, NotFound, Refused
from maestro.serving.auth import ADMIN
from maestro.serving.graph._base import ANY_KEY
from maestro.serving.protocols.adapter import Asked
from maestro.serving.protocols.grpc.messages import PROTO, SERVICE, calls, messages
from maestro.serving.protocols.grpc.tensors import answer_of, rest_body
from maestro.serving.protocols.open_inference import OpenInferenceAdapter, metadata_inputs, metadata_outputs
from maestro.serving.served import ServedGraph
from maestro.serving.server import ModelServer

log = logging.getLogger(__name__)

_STATUS = {
    400: grpc.StatusCode.INVALID_ARGUMENT,
    401: grpc.StatusCode.UNAUTHENTICATED,
    403: grpc.StatusCode.PERMISSION_DENIED,
    404: grpc.StatusCode.NOT_FOUND,
    409: grpc.StatusCode.FAILED_PRECONDITION,
    413: grpc.StatusCode.RESOURCE_EXHAUSTED,
    422: grpc.StatusCode.INVALID_ARGUMENT,
    429: grpc.StatusCode.RESOURCE_EXHAUSTED,
    503: grpc.StatusCode.UNAVAILABLE,
}
"""What an error's HTTP status is called here."""


class GrpcDoor:
    """Serves until it is stopped. An answer's version, arm and revision stand in trailing metadata, `x-maestro-*`.

    Loading and unloading follow the graph: it pins what is served, so a model that it serves is loaded, and nothing else can be.
    """

    def __init__(self, server: ModelServer) -> None:
        self._server = server
        self._adapter = OpenInferenceAdapter()
        self._grpc: grpc.aio.Server | None = None

    async def start(self, address: str) -> int:
        """Listen on `host:port`; the port."""
        limit = self._server.options.serving.max_body_bytes
        options = [("grpc.max_receive_message_length", limit), ("grpc.so_reuseport", 0)]
        self._grpc = grpc.aio.server(options=options)
        kinds = messages()
        handlers: dict[str, grpc.RpcMethodHandler[Any, Any]] = {}
        for name, (request, _) in calls(PROTO.read_text()).items():
            handlers[name] = grpc.unary_unary_rpc_method_handler(
                self._call(getattr(self, f"_{name}")),
                request_deserializer=kinds[request].FromString,
                response_serializer=lambda message: message.SerializeToString(),
            )
        self._grpc.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
        port = self._grpc.add_insecure_port(address)
        await self._grpc.start()
        return port

    async def stop(self, grace_s: float) -> None:
        """Answer what is under way, then end."""
        if self._grpc is not None:
            await self._grpc.stop(grace_s)

    def _call(self, handle: Callable[[Any, Any], Awaitable[Any]]) -> Callable[[Any, Any], Awaitable[Any]]:
        async def answered(request: Any, context: Any) -> Any:
            started, status = time.perf_counter(), 499
            try:
                result = await handle(request, context)
                status = 200
                return result
            except MaestroError as error:
                status = error.status
                said = f"{error.detail}; {error.remedy}" if error.remedy else error.detail
                await context.abort(_STATUS.get(status, grpc.StatusCode.INTERNAL), said)
            except grpc.aio.AbortError:
                raise
            except Exception:
                log.exception("a gRPC call failed in a way that nobody foresaw")
                status = 500
                await context.abort(grpc.StatusCode.INTERNAL, "the server failed; see the server's log")
            finally:
                self._server.metrics.response(status, time.perf_counter() - started)

        return answered

    def _admit(self, context: Any) -> dict[str, str]:
        """The call's metadata, of a caller of the data port."""
        head = {key: value for key, value in context.invocation_metadata() or () if isinstance(value, str)}
        self._server.auth.data(head.get("authorization"))
        return head

    async def _ServerLive(self, request: Any, context: Any) -> Any:  # noqa: N802 - the protocol's name
        return messages()["ServerLiveResponse"](live=True)

    async def _ServerReady(self, request: Any, context: Any) -> Any:  # noqa: N802
        return messages()["ServerReadyResponse"](ready=self._server.is_ready())

    async def _ModelReady(self, request: Any, context: Any) -> Any:  # noqa: N802
        self._admit(context)
        try:
            self._served(request.name, request.version)
        except NotFound:
            return messages()["ModelReadyResponse"](ready=False)
        return messages()["ModelReadyResponse"](ready=True)

    async def _ServerMetadata(self, request: Any, context: Any) -> Any:  # noqa: N802
        self._admit(context)
        return messages()["ServerMetadataResponse"](
            name="maestro", version=version("maestro-ml"), extensions=["model_repository"]
        )

    async def _ModelMetadata(self, request: Any, context: Any) -> Any:  # noqa: N802
        self._admit(context)
        served = self._served(request.name, request.version)
        platforms = {loaded.runtime.kind for loaded in served.versions.values()} or {"remote"}
        tensor = messages()["ModelMetadataResponse"].TensorMetadata
        return messages()["ModelMetadataResponse"](
            name=served.model,
            versions=sorted({loaded.version for loaded in served.versions.values()}),
            platform="maestro_" + "_".join(sorted(platforms)),
            inputs=[tensor(**each) for each in metadata_inputs(served.contract)],
            outputs=[tensor(**each) for each in metadata_outputs(served.contract)],
        )

    async def _ModelInfer(self, request: Any, context: Any) -> Any:  # noqa: N802
        head = self._admit(context)
        body, size = rest_body(request)
        path = {"model": request.model_name} | ({"version": request.model_version} if request.model_version else {})
        unit = head.get("x-maestro-unit")
        asked = Asked("application/octet-stream", path, {}, {ANY_KEY: unit} if unit else {}, size)
        wanted, render = self._adapter.read(body, asked)
        result = await self._server.plane.infer(wanted)
        rendered = render(result)
        named = dict(rendered.headers)
        answer = result.answer
        trailing = [
            ("x-maestro-version", answer.version),
            ("x-maestro-arm", answer.arm),
            ("x-maestro-revision", str(result.revision)),
        ]
        if answer.fallback is not None:
            trailing.append(("x-maestro-fallback", answer.fallback))
        if answer.reward_id is not None:
            trailing.append(("x-maestro-reward-id", answer.reward_id))
        context.set_trailing_metadata(tuple(trailing))
        size_sent = named.get(b"inference-header-content-length")
        return answer_of(rendered.body, None if size_sent is None else int(size_sent))

    async def _RepositoryIndex(self, request: Any, context: Any) -> Any:  # noqa: N802
        self._require(context)
        index = messages()["RepositoryIndexResponse"].ModelIndex
        found = [
            index(name=model, version=loaded.version, state="READY")
            for model, served in sorted(self._server.plane.graphs.items())
            for loaded in served.versions.values()
        ]
        if not request.ready:
            found += [
                index(name=model, state="UNAVAILABLE", reason=refusal.error.detail)
                for model, refusal in sorted(self._server.follower.refusals.items())
                if model not in self._server.plane.graphs
            ]
        return messages()["RepositoryIndexResponse"](models=found)

    async def _RepositoryModelLoad(self, request: Any, context: Any) -> Any:  # noqa: N802
        self._require(context)
        self._only_here(request.repository_name)
        refusal = self._server.follower.refusals.get(request.model_name)
        if refusal is not None:
            raise Conflict(
                f"model {request.model_name!r} is refused: {refusal.error.detail}",
                field="model_name",
                remedy=refusal.error.remedy or "correct its graph",
            )
        if request.model_name not in self._server.plane.graphs:
            raise Refused(
                f"no graph pins model {request.model_name[:128]!r}",
                field="model_name",
                remedy="write a graph that pins a version by its digest; the server loads what graphs pin, and nothing else",
            )
        if request.parameters:
            raise Refused(
                "a model's files and settings are not taken over this port",
                field="parameters",
                remedy="register a version and pin it in the graph",
            )
        return messages()["RepositoryModelLoadResponse"]()

    async def _RepositoryModelUnload(self, request: Any, context: Any) -> Any:  # noqa: N802
        self._require(context)
        self._only_here(request.repository_name)
        if request.model_name in self._server.plane.graphs:
            raise Refused(
                f"the graph of {request.model_name!r} pins its versions: they stay loaded as long as it does",
                field="model_name",
                remedy="write a graph that names them no more",
            )
        return messages()["RepositoryModelUnloadResponse"]()

    def _require(self, context: Any) -> None:
        head = {key: value for key, value in context.invocation_metadata() or () if isinstance(value, str)}
        self._server.auth.require(head.get("authorization"), *ADMIN)

    def _only_here(self, repository: str) -> None:
        if repository:
            raise NotFound(
                f"there is no repository {repository[:128]!r}",
                field="repository_name",
                remedy="leave it empty: this server has one",
            )

    def _served(self, model: str, version: str) -> ServedGraph:
        served = self._server.plane.served(model)
        known = {loaded.version for loaded in served.versions.values()}
        if version and version not in known:
            raise NotFound(
                f"model {served.model!r} has no version {version[:64]!r} loaded",
                field="version",
                remedy=f"ask for one of: {', '.join(sorted(known))}",
            )
        return served
