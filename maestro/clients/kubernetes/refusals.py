"""What an API server's refusal means: the object, the reason in words, and what to do about it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from maestro.core.errors import (
    BadInput,
    Conflict,
    MaestroError,
    NotFound,
    Refused,
    TooLarge,
    TooManyRequests,
    Unauthenticated,
    Unreachable,
)

_DEFAULT_RETRY_S = 1.0


def refusal(status: int, content: bytes, headers: Mapping[str, str], *, what: str, server: str) -> MaestroError:
    """The error for an answer of 400 or above.

    Args:
        status: of HTTP.
        content: the body, mostly a `Status` object.
        headers: the answer's.
        what: the act in words, such as `read ConfigMap x/y`.
        server: the API server's address.

    Returns:
        `reason` of the Status is in the error's `extra`.
    """
    document = _status(content)
    message = str(document.get("message") or content[:300].decode("utf-8", "replace")).strip()
    reason = str(document.get("reason") or "")
    begun = f"cannot {what}: "
    match status:
        case 401:
            return Unauthenticated(
                f"{begun}the API server {server} does not accept our credential",
                remedy="renew it (kubectl auth whoami shows who you are), or mount the ServiceAccount's token",
                reason=reason,
            )
        case 403 if "exceeded quota" in message:
            return Refused(f"{begun}{message}", remedy=_QUOTA, reason="QuotaExceeded")
        case 403 if "denied request" in message or "violates PodSecurity" in message:
            return Refused(f"{begun}{message}", remedy="correct the object as the policy says", reason=reason)
        case 403:
            return Refused(
                f"{begun}{message}",
                remedy="grant it by RBAC (kubectl auth can-i --list shows what you may)",
                reason=reason,
            )
        case 404:
            return _missing(begun, message, document, reason)
        case 409 | 410:
            return Conflict(f"{begun}{message}", remedy="read it again and decide again", reason=reason or "Conflict")
        case 413:
            return TooLarge(f"{begun}{message}", remedy="make the object smaller", reason=reason)
        case 429:
            after = _retry_after(headers)
            return TooManyRequests(
                f"{begun}the API server {server} asks us to slow down: {message}",
                remedy=f"try again in {after:g} s",
                retry_after=after,
                reason=reason,
            )
        case _ if status >= 500:
            return Unreachable(
                f"{begun}the API server {server} answers {status}: {message}",
                remedy="see that the control plane and its webhooks run: kubectl get --raw /readyz?verbose",
                component="kubernetes",
                reason=reason,
            )
    causes = document.get("details", {}).get("causes", [])
    field = next((str(cause["field"]) for cause in causes if cause.get("field")), None)
    return BadInput(f"{begun}{message}", field=field, remedy="correct the object", reason=reason)


_QUOTA = "wait until running work ends, ask for less, or raise the ResourceQuota of the namespace"


def _missing(begun: str, message: str, document: Mapping[str, Any], reason: str) -> NotFound:
    kind = document.get("details", {}).get("kind", "")
    if "could not find the requested resource" in message or not kind:
        remedy = "install what defines this kind of object (its CustomResourceDefinition)"
    else:
        remedy = f"create it, or correct its name: kubectl get {kind} -A"
    return NotFound(f"{begun}{message}", remedy=remedy, reason=reason)


def _status(content: bytes) -> dict[str, Any]:
    try:
        document = json.loads(content)
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}


def _retry_after(headers: Mapping[str, str]) -> float:
    value = {name.lower(): text for name, text in headers.items()}.get("retry-after", "")
    try:
        return max(0.0, float(value))
    except ValueError:
        return _DEFAULT_RETRY_S
