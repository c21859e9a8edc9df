"""The places where the story is told: this machine, and a cluster."""

from maestro.lifecycle.demo.places._base import Pace, Place, Setting, Steps

__all__ = ["Pace", "Place", "Setting", "Steps"]
