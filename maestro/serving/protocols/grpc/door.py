"""The gRPC port: the protocol's calls on the server's data plane, in its event loop."""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import grpc
import grpc.aio
import msgspec

from maestro.core.errors import MaestroError, NotFound, Unreachable
from maestro.serving.auth import ServerAuth
from maestro.serving.dataplane import DataPlane
from maestro.serving.engine.control import Control, ControlRequest
from maestro.serving.engine.rate import RateLimit
from maestro.serving.graph._base import ANY_KEY
from maestro.serving.protocols.adapter import Asked
from maestro.serving.protocols.grpc.messages import PROTO, SERVICE, calls, messages
from maestro.serving.protocols.grpc.tensors import answer_of, rest_body
from maestro.serving.protocols.open_inference import OpenInferenceAdapter, metadata_inputs, metadata_outputs
from maestro.serving.served import ServedGraph

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


class _Told(Exception):
    """What a control route refused."""

    def __init__(self, said: str, status: int) -> None:
        super().__init__(said)
        self.status = status


class GrpcDoor:
    """Serves until it is stopped. An answer's version, arm and revision stand in trailing metadata, `x-maestro-*`.

    Who may call, how often, and what is answered is as on the HTTP port. Readiness and the repository are asked of the control routes: loading and
    unloading follow the graph, which pins what is served, so a model that it serves is loaded, and nothing else can be.

    Args:
        control: answers what is no inference.
        rate: how often one caller may ask; None as often as it likes.
        max_body: bytes of a message.
    """

    def __init__(
        self, plane: DataPlane, auth: ServerAuth, control: Control, rate: RateLimit | None, *, max_body: int
    ) -> None:
        self._plane = plane
        self._auth = auth
        self._control = control
        self._rate = rate
        self._max_body = max_body
        self._adapter = OpenInferenceAdapter()
        self._grpc: grpc.aio.Server | None = None

    async def start(self, address: str, *, tls: tuple[Path, Path] | None = None, shared: bool = False) -> int:
        """Listen on `host:port`; the port.

        Args:
            tls: the certificate chain and its key (PEM); with them the port speaks TLS only.
            shared: whether other processes of this server listen on it too.

        Raises:
            Unreachable: the address is taken, or not this machine's.
        """
        options = [("grpc.max_receive_message_length", self._max_body), ("grpc.so_reuseport", int(shared))]
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
        try:
            if tls is None:
                port = self._grpc.add_insecure_port(address)
            else:
                pair = [(tls[1].read_bytes(), tls[0].read_bytes())]
                port = self._grpc.add_secure_port(address, grpc.ssl_server_credentials(pair))
        except RuntimeError:
            raise Unreachable(
                f"{address} cannot be listened on",
                field="MAESTRO_SERVING__GRPC",
                remedy="give another MAESTRO_SERVING__GRPC",
                component="model server",
            ) from None
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
            except _Told as told:
                status = told.status
                await context.abort(_STATUS.get(status, grpc.StatusCode.INTERNAL), told.args[0])
            except grpc.aio.AbortError:
                raise
            except Exception:
                log.exception("a gRPC call failed in a way that nobody foresaw")
                status = 500
                await context.abort(grpc.StatusCode.INTERNAL, "the server failed; see the server's log")
            finally:
                self._plane.metrics.response(status, time.perf_counter() - started)

        return answered

    def _admit(self, context: Any) -> dict[str, str]:
        """The call's metadata, of a caller of the data port."""
        head = {key: value for key, value in context.invocation_metadata() or () if isinstance(value, str)}
        authorization = head.get("authorization")
        self._auth.data(authorization)
        if self._rate is not None:
            self._rate.admit(authorization or host_of(context.peer()))
        return head

    async def _ServerLive(self, request: Any, context: Any) -> Any:  # noqa: N802 - the protocol's name
        return messages()["ServerLiveResponse"](live=True)

    async def _ServerReady(self, request: Any, context: Any) -> Any:  # noqa: N802
        answer = await self._control.answer(ControlRequest("GET", "/v2/health/ready", "", (), b""))
        return messages()["ServerReadyResponse"](ready=answer.status == 200)

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
        result = await self._plane.infer(wanted)
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
        index = messages()["RepositoryIndexResponse"].ModelIndex
        found = await self._repository("index", request.repository_name, {"ready": request.ready}, context)
        return messages()["RepositoryIndexResponse"](models=[index(**each) for each in found])

    async def _RepositoryModelLoad(self, request: Any, context: Any) -> Any:  # noqa: N802
        sent = {"parameters": dict.fromkeys(request.parameters, "")}
        await self._repository(_model_path(request, "load"), request.repository_name, sent, context)
        return messages()["RepositoryModelLoadResponse"]()

    async def _RepositoryModelUnload(self, request: Any, context: Any) -> Any:  # noqa: N802
        sent = {"parameters": dict.fromkeys(request.parameters, "")}
        await self._repository(_model_path(request, "unload"), request.repository_name, sent, context)
        return messages()["RepositoryModelUnloadResponse"]()

    async def _repository(self, path: str, repository: str, sent: dict[str, Any], context: Any) -> Any:
        """Ask the same of the REST routes, in the caller's name."""
        head = {key: value for key, value in context.invocation_metadata() or () if isinstance(value, str)}
        headers = [(b"content-type", b"application/json")]
        if "authorization" in head:
            headers.append((b"authorization", head["authorization"].encode("latin-1", "replace")))
        sent |= {"repository_name": repository} if repository else {}
        asked = ControlRequest("POST", f"/v2/repository/{path}", "", tuple(headers), msgspec.json.encode(sent))
        answer = await self._control.answer(asked)
        if answer.status != 200:
            problem: dict[str, Any] = msgspec.json.decode(answer.body)
            said = "; ".join(str(problem[part]) for part in ("detail", "remedy") if problem.get(part))
            raise _Told(said, answer.status)
        return msgspec.json.decode(answer.body) if answer.body else None

    def _served(self, model: str, version: str) -> ServedGraph:
        served = self._plane.served(model)
        known = {loaded.version for loaded in served.versions.values()}
        if version and version not in known:
            raise NotFound(
                f"model {served.model!r} has no version {version[:64]!r} loaded",
                field="version",
                remedy=f"ask for one of: {', '.join(sorted(known))}",
            )
        return served


def host_of(peer: str) -> str:
    """The caller's address, as the HTTP port knows it.

    >>> host_of("ipv4:10.0.0.7:5000"), host_of("ipv6:%5B::1%5D:5000"), host_of("unix:")
    ('10.0.0.7', '::1', '')
    """
    kind, _, rest = unquote(peer).partition(":")
    if kind not in ("ipv4", "ipv6"):
        return ""
    host = rest.rpartition(":")[0].strip("[]")
    return host.removeprefix("::ffff:")


def _model_path(request: Any, action: str) -> str:
    return f"models/{quote(request.model_name, safe='')}/{action}"
