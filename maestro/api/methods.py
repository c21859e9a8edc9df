"""An address that is a route word for word takes that route's methods, though it would also fit a route with a parameter (`/decisions/replay`, `/decisions/{decision_id}`)."""

from __future__ import annotations

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from maestro.api.problems import method_not_allowed


class OwnMethods:
    """ASGI middleware: 405 with `Allow` for a method that the address does not take.

    Args:
        exact: the methods of each address without parameters.
    """

    def __init__(self, app: ASGIApp, exact: dict[str, frozenset[str]]) -> None:
        self._app = app
        self._exact = exact

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse, or hand the request on."""
        own = self._exact.get(scope["path"]) if scope["type"] == "http" else None
        if own is not None and scope["method"] not in own:
            await method_not_allowed(Request(scope), ", ".join(sorted(own)))(scope, receive, send)
            return
        await self._app(scope, receive, send)
