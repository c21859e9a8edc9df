"""From a setting to the notifier that it names."""

from __future__ import annotations

from pathlib import Path

from maestro.core.errors import BadInput
from maestro.core.seams import Notifier
from maestro.observability.notifier.file import FileNotifier
from maestro.observability.notifier.log import LogNotifier
from maestro.observability.notifier.many import ManyNotifiers

KNOWN = ("log", "file:<path>", "slack://…", "pagerduty://…", "json://host/path (webhook)", "any other Apprise URL")
"""What `create_notifier` accepts."""


def create_notifier(spec: str) -> Notifier:
    """The notifier of a setting such as `MAESTRO_NOTIFY`.

    Args:
        spec: `log`, `file:<path>` or an Apprise URL; several separated by commas all receive each alert.

    Raises:
        BadInput: a word is none of these; the known ones are listed.
    """
    words = [word.strip() for word in spec.split(",") if word.strip()]
    if not words:
        raise _unknown(spec)
    notifiers = [_one(word) for word in words]
    return notifiers[0] if len(notifiers) == 1 else ManyNotifiers(notifiers)


def _one(word: str) -> Notifier:
    if word == "log":
        return LogNotifier()
    if word.startswith("file:") and len(word) > len("file:"):
        return FileNotifier(Path(word.removeprefix("file:")))
    if "://" in word:
        from maestro.observability.notifier.apprise import AppriseNotifier

        return AppriseNotifier([word])
    raise _unknown(word)


def _unknown(word: str) -> BadInput:
    return BadInput(f"notifier {word!r} is not known", field="notify", remedy=f"use one of: {', '.join(KNOWN)}")
