"""Alerts on drift: one for the table when its share is high or critical, and one for each column that drifts."""

from __future__ import annotations

from maestro.core.model import Model
from maestro.core.seams import Alert, Notifier
from maestro.monitoring.drift.batch import DriftCheck

COLUMN_ALERTS = 10
"""Columns that are alerted on one by one; the rest are named in one more alert, so that a broken feed is no flood."""


class Delivery(Model):
    """An alert and whether every receiver accepted it."""

    alert: Alert
    delivered: bool


def drift_alerts(check: DriftCheck) -> tuple[Alert, ...]:
    """The alerts that a check calls for; none when nothing drifts and the data is sound.

    The table alert is `high` above `--alert-threshold` and `critical` above 50 %; those of columns and of data quality are warnings.
    """
    source = f"drift/{check.dataset}"
    alerts = []
    verdict = check.verdict
    if verdict.alarm != "none":
        alerts.append(
            Alert(
                title=f"{check.dataset}: {len(verdict.drifted)} of {len(verdict.columns)} columns drifted",
                body=f"share {verdict.share:.2f}; drifted: {', '.join(verdict.drifted)}",
                severity=verdict.alarm,
                source=source,
            )
        )
    columns = [*verdict.columns, *(check.target.columns if check.target else ())]
    drifted = sorted((each for each in columns if each.drift), key=lambda each: -each.effect_lower)
    alerts += [
        Alert(
            title=f"{check.dataset}: {'target' if each.column == check.options.target else 'column'} {each.column} drifted",
            body=f"{each.reason} (effect {each.effect:.3f}, {each.test}, PSI {each.psi:.3f})",
            severity="warning",
            source=f"{source}/{each.column}",
        )
        for each in drifted[:COLUMN_ALERTS]
    ]
    if rest := drifted[COLUMN_ALERTS:]:
        alerts.append(
            Alert(
                title=f"{check.dataset}: {len(rest)} more columns drifted",
                body=", ".join(each.column for each in rest),
                severity="warning",
                source=source,
            )
        )
    if issues := check.quality.issues:
        alerts.append(
            Alert(
                title=f"{check.dataset}: data quality of {len({issue.column for issue in issues})} columns is worse",
                body="; ".join(
                    f"{issue.column}: {issue.check.replace('_', ' ')} {issue.reference_share:.2%} → {issue.current_share:.2%}"
                    for issue in issues
                ),
                severity="warning",
                source=source,
            )
        )
    return tuple(alerts)


def send_alerts(check: DriftCheck, notifier: Notifier) -> tuple[Delivery, ...]:
    """Send what the check calls for; a receiver that fails is told in the result and stops nothing."""
    return tuple(Delivery(alert=alert, delivered=notifier.notify(alert)) for alert in drift_alerts(check))
