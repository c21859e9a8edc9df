"""The caller of a request: a principal from its bearer key, never from a body or a header it wrote itself."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from maestro.core.errors import Unauthenticated
from maestro.core.principals import Principal
from maestro.lifecycle.composition import Platform

_bearer = HTTPBearer(auto_error=False, description="A key minted by `maestro keys mint`.")


def platform_of(request: Request) -> Platform:
    """The platform that this application serves."""
    platform: Platform = request.app.state.platform
    return platform


def current_principal(
    credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)],
    platform: Annotated[Platform, Depends(platform_of)],
) -> Principal:
    """The verified caller.

    Raises:
        Unauthenticated: no key, or one that does not count.
    """
    if credentials is None:
        raise Unauthenticated(
            "no credential was sent", remedy="send `Authorization: Bearer <key>`; set MAESTRO_API_KEY"
        )
    return platform.principals.authenticate(credentials.credentials)


CurrentPlatform = Annotated[Platform, Depends(platform_of)]
"""The platform, as a route's parameter."""

CurrentPrincipal = Annotated[Principal, Depends(current_principal)]
"""The verified caller, as a route's parameter."""
