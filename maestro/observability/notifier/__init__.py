"""Where alerts go: `create_notifier` builds what `MAESTRO_NOTIFY` names."""

from maestro.observability.notifier._factory import KNOWN, create_notifier

__all__ = ["KNOWN", "create_notifier"]
