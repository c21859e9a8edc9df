"""The caller of a request: a principal from its bearer key, never from a body or a header it wrote itself."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from starlette.concurrency import run_in_threadpool
from starlette.types import ASGIApp, Receive, Scope, Send

from maestro.api.problems import problem_of
from maestro.core.errors import MaestroError, Unauthenticated
from maestro.core.principals import Principal
from maestro.lifecycle.composition import Platform

OPEN = frozenset({"/healthz", "/readyz", "/openapi.json", "/docs", "/docs/oauth2-redirect", "/redoc"})
"""The addresses that answer without a key."""

_CALLER = "maestro.principal"

_bearer = HTTPBearer(auto_error=False, description="A key minted by `maestro keys mint`.")


def platform_of(request: Request) -> Platform:
    """The platform that this application serves."""
    platform: Platform = request.app.state.platform
    return platform


class KeyRequired:
    """ASGI middleware: every address but the open ones answers 401 without a key that counts, before anything of the request is read.

    So a route that forgets to name its caller is closed, not open.
    """

    def __init__(self, app: ASGIApp, platform: Platform) -> None:
        self._app = app
        self._platform = platform

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Authenticate, then hand the request on with its principal."""
        if scope["type"] == "http" and scope["path"] not in OPEN:
            try:
                scope[_CALLER] = await run_in_threadpool(self._platform.principals.authenticate, _token(scope))
            except MaestroError as error:
                await problem_of(error)(scope, receive, send)
                return
        await self._app(scope, receive, send)


def _token(scope: Scope) -> str:
    sent = [value.decode("latin-1") for name, value in scope["headers"] if name.lower() == b"authorization"]
    kind, _, token = (sent[0] if len(sent) == 1 else "").strip().partition(" ")
    if kind.lower() != "bearer" or not token.strip():
        raise Unauthenticated(
            "no credential was sent", remedy="send `Authorization: Bearer <key>`; set MAESTRO_API_KEY"
        )
    return token.strip()


def current_principal(
    request: Request, _: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]
) -> Principal:
    """The verified caller.

    Raises:
        Unauthenticated: the route stands at an open address.
    """
    principal = request.scope.get(_CALLER)
    if not isinstance(principal, Principal):
        raise Unauthenticated("nobody was authenticated", remedy="send `Authorization: Bearer <key>`")
    return principal


CurrentPlatform = Annotated[Platform, Depends(platform_of)]
"""The platform, as a route's parameter."""

CurrentPrincipal = Annotated[Principal, Depends(current_principal)]
"""The verified caller, as a route's parameter."""
