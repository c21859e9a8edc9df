"""A limit on the bodies of control routes, before anything reads them."""

from __future__ import annotations

from collections.abc import Collection

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from maestro.core.errors import BadInput
from maestro.serving.protocols.endpoint import head_of, read_body
from maestro.serving.protocols.problems import answer


class BodyLimit:
    """ASGI middleware: the body of a request to one of `paths` is read whole, or answered with 413 when it is larger than `limit` bytes."""

    def __init__(self, app: ASGIApp, limit: int, paths: Collection[str]) -> None:
        self._app = app
        self._limit = limit
        self._paths = frozenset(paths)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Read, then pass on."""
        if scope["type"] != "http" or scope["path"] not in self._paths:
            await self._app(scope, receive, send)
            return
        try:
            body = await read_body(head_of(scope), receive, self._limit)
        except BadInput as error:
            await answer(error)(scope, receive, send)
            return
        waiting: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

        async def replay() -> Message:
            return waiting.pop() if waiting else await receive()

        await self._app(scope, replay, send)
