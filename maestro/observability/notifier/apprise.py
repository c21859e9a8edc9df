"""Alerts to Slack, PagerDuty, a webhook or any other receiver that Apprise knows."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from maestro.clients.apprise import AppriseSender, Urgency
from maestro.core.seams import Alert

log = logging.getLogger(__name__)

_URGENCY: dict[str, Urgency] = {"info": "info", "warning": "warning", "high": "warning", "critical": "failure"}


class AppriseNotifier:
    """Sends each alert once to every receiver.

    Args:
        urls: Apprise URLs; they hold credentials and are never logged.
        timeout_s: how long one alert may take in all.

    Raises:
        BadInput: a URL is unknown to Apprise.
    """

    def __init__(self, urls: Sequence[str], *, timeout_s: float = 9.0) -> None:
        self._sender = AppriseSender(urls)
        self._timeout_s = timeout_s

    def notify(self, alert: Alert) -> bool:
        """Whether every receiver accepted it."""
        title = f"[{alert.severity}] {alert.title}"
        body = f"{alert.body}\nsource: {alert.source}"
        try:
            refused = self._sender.send(title, body, _URGENCY.get(alert.severity, "warning"), self._timeout_s)
        except Exception as error:  # noqa: BLE001 - the work that alerts goes on whatever a receiver's plug-in raises
            refused = f"{type(error).__name__}: {error}"
        if refused is not None:
            log.error("alert %r was not delivered: %s", alert.title, refused)
        return refused is None
