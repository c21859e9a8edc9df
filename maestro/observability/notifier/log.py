"""Alerts as log records: the default, and what remains when no receiver is configured."""

from __future__ import annotations

import logging

from maestro.core.seams import Alert

log = logging.getLogger("maestro.alerts")

_LEVELS = {"critical": logging.CRITICAL, "high": logging.ERROR, "warning": logging.WARNING}


class LogNotifier:
    """Writes each alert to the logger `maestro.alerts`, at a level that follows its severity."""

    def notify(self, alert: Alert) -> bool:
        """Whether the record was handed to logging."""
        fields = {"severity": alert.severity, "source": alert.source, "title": alert.title}
        try:
            log.log(_LEVELS.get(alert.severity, logging.INFO), "%s: %s", alert.title, alert.body, extra=fields)
        except Exception:  # noqa: BLE001 - a handler that fails must not stop the work that alerts
            return False
        return True
