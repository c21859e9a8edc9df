"""A limit on the bodies of the control routes, before anything reads them."""

from __future__ import annotations

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from maestro.core.errors import TooLarge
from maestro.serving.protocols.problems import answer


class _Over(Exception):
    """The body is over the limit."""


class BodyLimit:
    """ASGI middleware: 413 as soon as a body is known to be larger than `limit` bytes."""

    def __init__(self, app: ASGIApp, limit: int) -> None:
        self._app = app
        self._limit = limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on, counting."""
        if scope["type"] != "http" or scope["method"] in ("GET", "HEAD"):
            await self._app(scope, receive, send)
            return
        size = 0
        started = False

        async def counted() -> Message:
            nonlocal size
            message = await receive()
            size += len(message.get("body", b""))
            if size > self._limit:
                raise _Over
            return message

        async def told(message: Message) -> None:
            nonlocal started
            started = started or message["type"] == "http.response.start"
            await send(message)

        try:
            await self._app(scope, counted, told)
        except _Over:
            if not started:
                error = TooLarge(
                    f"the body is larger than {self._limit} bytes", field="body", remedy="send it in parts"
                )
                await answer(error)(scope, receive, send)
