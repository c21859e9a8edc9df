"""Apprise: the one module that imports it. Slack, PagerDuty, webhooks and a hundred more receivers by URL."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Literal

from maestro.core.errors import BadInput

Urgency = Literal["info", "warning", "failure"]


class AppriseSender:
    """Sends one message to every receiver of a list of Apprise URLs. Thread-safe.

    Args:
        urls: such as `slack://…`, `pagerduty://…`, or `json://host:port/path` for a plain webhook.

    Raises:
        BadInput: Apprise does not know the URL's scheme, or the URL lacks a part.
    """

    def __init__(self, urls: Sequence[str]) -> None:
        with warnings.catch_warnings():
            # Loading the plug-ins imports modules that are deprecated in Python 3.11.
            warnings.simplefilter("ignore")
            from apprise import Apprise

            self._apprise = Apprise()
            for url in urls:
                if not self._apprise.add(url):
                    scheme = url.split("://", 1)[0] if "://" in url else url
                    raise BadInput(
                        f"{scheme!r} is no receiver of notifications, or its URL is not complete",
                        field="notify",
                        remedy="use log, file:<path>, or a complete Apprise URL such as slack://…, pagerduty://… or json://host/path",
                    )

    def send(self, title: str, body: str, urgency: Urgency, timeout_s: float) -> str | None:
        """Send once to each receiver.

        Returns:
            None when all accepted it, otherwise why not, without the URLs, which hold credentials.
        """
        from apprise import NotifyType

        result = self._apprise.notify(title=title, body=body, notify_type=NotifyType(urgency), timeout=timeout_s)
        if result:
            return None
        failed = [each.name for each in result.results if not each]
        return f"{', '.join(str(name) for name in failed) or 'no receiver'}: {result.status}"
