"""Semantic versions of models and the rule that bumps them."""

from __future__ import annotations

from enum import IntEnum

from semver import Version

from maestro.core.errors import BadInput


class Bump(IntEnum):
    """What changed: the contract incompatibly (major), the contract or the metric upwards (minor), anything else (patch)."""

    PATCH = 0
    MINOR = 1
    MAJOR = 2


def parse_version(text: str) -> Version:
    """A version `MAJOR.MINOR.PATCH`.

    Raises:
        BadInput: it is not one.
    """
    try:
        return Version.parse(text)
    except (ValueError, TypeError):
        raise BadInput(
            f"{text!r} is not a semantic version", field="version", remedy="write MAJOR.MINOR.PATCH, such as 1.2.0"
        ) from None


def next_version(current: str | None, bump: Bump) -> str:
    """The version after `current`; the first is 1.0.0.

    >>> next_version(None, Bump.PATCH), next_version("1.2.3", Bump.MINOR), next_version("1.2.3", Bump.MAJOR)
    ('1.0.0', '1.3.0', '2.0.0')
    """
    if current is None:
        return "1.0.0"
    version = parse_version(current)
    changed = {Bump.MAJOR: version.bump_major, Bump.MINOR: version.bump_minor, Bump.PATCH: version.bump_patch}[bump]()
    return str(changed)
