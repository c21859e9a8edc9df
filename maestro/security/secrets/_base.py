"""What every secret store agrees on: how a secret may be named, and what it says when there is none."""

from __future__ import annotations

import re

from maestro.core.errors import BadInput, NotFound

_NAME = re.compile(r"[a-z][a-z0-9-]{0,62}", re.ASCII)


def checked_name(name: str) -> str:
    """The name, when every store can hold it: lower case, digits and hyphens, so that no two names become one variable.

    Raises:
        BadInput: it is another.
    """
    if _NAME.fullmatch(name) is None:
        raise BadInput(
            f"{name!r} is no name of a secret",
            field="name",
            remedy="use at most 63 lower-case letters, digits and hyphens, beginning with a letter",
        )
    return name


def checked_value(name: str, value: str) -> str:
    """The value, when it is one.

    Raises:
        BadInput: it is empty, or holds a NUL character, which no variable can.
    """
    if not value or "\0" in value:
        raise BadInput(f"the value of secret {name} is empty or holds a NUL character", field="value")
    return value


def missing(name: str, where: str) -> NotFound:
    """That there is no such secret; `where` says where it would be."""
    return NotFound(f"there is no secret {name}", field=name, remedy=f"put it into {where}")
