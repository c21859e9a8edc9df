"""The error hierarchy: each error carries its outward meaning, so that doors contain no mapping.

Exit codes: 1 negative verdict, 2 bad input, 3 a component is unreachable, 4 refused by policy or permission,
70 our bug, 130 interrupted. HTTP answers are RFC 9457 problem details with the same `type`.
"""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import ValidationError


class MaestroError(Exception):
    """Base of every expected failure.

    Args:
        detail: what is wrong, in one sentence that names the field, file or component.
        remedy: what the user can do about it.
        field: the input that is wrong, as a path such as `data.feature_service`.
        extra: further members of the problem document.
    """

    slug: ClassVar[str] = "internal"
    title: ClassVar[str] = "Internal error"
    status: ClassVar[int] = 500
    exit_code: ClassVar[int] = 70

    def __init__(self, detail: str, *, remedy: str = "", field: str | None = None, **extra: Any) -> None:
        super().__init__(detail)
        self.detail = detail
        self.remedy = remedy
        self.field = field
        self.extra = extra

    def problem(self) -> dict[str, Any]:
        """The RFC 9457 problem document.

        >>> BadInput("weight is 0", remedy="give 1 to 100", field="weight").problem()["type"]
        'urn:maestro:problem:bad-input'
        """
        document: dict[str, Any] = {
            "type": f"urn:maestro:problem:{self.slug}",
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
        }
        if self.remedy:
            document["remedy"] = self.remedy
        if self.field:
            document["field"] = self.field
        return document | self.extra


class NegativeVerdict(MaestroError):
    """The command worked and its answer is no: rolled back, drift found, not compliant, tampered."""

    slug, title, status, exit_code = "negative-verdict", "Negative verdict", 200, 1


class BadInput(MaestroError):
    """The request is well-formed but its content is not acceptable."""

    slug, title, status, exit_code = "bad-input", "Bad input", 422, 2


class Malformed(BadInput):
    """The request, file or body cannot be read at all."""

    slug, title, status = "malformed", "Malformed input", 400


class TooLarge(BadInput):
    """The body or batch is over its limit."""

    slug, title, status = "too-large", "Input too large", 413


class NotFound(BadInput):
    """The thing named does not exist."""

    slug, title, status = "not-found", "Not found", 404


class Conflict(BadInput):
    """The state of the thing does not allow this, or somebody changed it first."""

    slug, title, status = "conflict", "Conflict", 409


class Fenced(Conflict):
    """A write of an attempt that is no longer the current one."""

    slug, title = "fenced", "Attempt superseded"


class Unauthenticated(MaestroError):
    """No valid credential."""

    slug, title, status, exit_code = "unauthenticated", "Not authenticated", 401, 4


class Refused(MaestroError):
    """Refused by policy or permission."""

    slug, title, status, exit_code = "refused", "Refused", 403, 4


class Untrusted(Refused):
    """A signature, statement or digest does not verify against the trust policy."""

    slug, title = "untrusted", "Not trusted"


class TooManyRequests(MaestroError):
    """A rate or queue limit; `retry_after` seconds."""

    slug, title, status, exit_code = "too-many-requests", "Too many requests", 429, 3


class Unreachable(MaestroError):
    """A component does not answer."""

    slug, title, status, exit_code = "unreachable", "Component unreachable", 503, 3


class Interrupted(MaestroError):
    """Stopped by the user."""

    slug, title, status, exit_code = "interrupted", "Interrupted", 503, 130


def from_validation(error: ValidationError, what: str, *, remedy: str = "") -> BadInput:
    """One clear error from pydantic's list: names every wrong field of `what`.

    Args:
        error: the validation error.
        what: the document that was read, such as `policy file demo.yaml`.
        remedy: what to do; a sentence on correcting the fields when empty.
    """
    problems = []
    for item in error.errors(include_url=False, include_input=False, include_context=False):
        path = ".".join(str(part) for part in item["loc"]) or "document"
        problems.append({"field": path, "message": item["msg"].removeprefix("Value error, ")})
    first = problems[0]
    shown = "; ".join(f"{problem['field']}: {problem['message']}" for problem in problems[:5])
    return BadInput(
        f"{what}: {shown}",
        field=first["field"],
        remedy=remedy or f"correct {first['field']} in {what}",
        errors=problems,
    )
