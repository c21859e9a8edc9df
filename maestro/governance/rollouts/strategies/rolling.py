"""Rolling: replica by replica, each ready before the next. A target with one replica has one step."""

from __future__ import annotations

from maestro.governance.rollouts.strategies.blue_green import BlueGreen


class Rolling(BlueGreen):
    """On a target with one server the replacement of its only replica: ready beside the old one, then switched."""

    name = "rolling"
