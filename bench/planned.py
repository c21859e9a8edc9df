"""Planned looks against one look at the end: power kept and users saved, computed exactly."""

from __future__ import annotations

from maestro.decisions.group_sequential import operating, plan

LOOKS = 20


def compare() -> list[str]:
    """For designs of power 0.80 and 0.90: the share of the fixed test's power that is kept, and of its users that are needed."""
    lines = [f"two-sided 0.05, {LOOKS} looks, the fixed test's sample as the maximum", f"{'power':>6} {'effect':>7} {'of the power':>13} {'of the users':>13}"]  # fmt: skip
    for power in (0.80, 0.90):
        design = plan(power=power, looks=LOOKS)
        for effect in (1.0, 0.0):
            figures = operating(design, effect)
            kept = figures.winner / power if effect else figures.winner + figures.harm
            lines.append(
                f"{power:>6.2f} {'design' if effect else 'null':>7} {kept:>13.3f} {figures.expected_of_fixed:>13.3f}"
            )
    lines.append("under the null the third column is the two-sided error")
    return lines
