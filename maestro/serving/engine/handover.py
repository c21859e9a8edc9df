"""A worker's samples, handed to the parent several times a second, all together."""

from __future__ import annotations

import asyncio

from maestro.serving.engine.channel import Channel
from maestro.serving.engine.messages import SAMPLES, sample_messages
from maestro.serving.sampling import Sample

EVERY_S = 0.25


class Handover:
    """Gathers samples. A parent that is far behind gets none: what is only watched is let go before anything that counts."""

    def __init__(self, channel: Channel) -> None:
        self.dropped = 0
        self._channel = channel
        self._waiting: list[Sample] = []

    def take(self, sample: Sample) -> None:
        """Gather one."""
        if not self._waiting:
            asyncio.get_running_loop().call_later(EVERY_S, self.flush)
        self._waiting.append(sample)

    def flush(self) -> None:
        """Hand over what has been gathered."""
        waiting, self._waiting = self._waiting, []
        if not waiting:
            return
        if self._channel.full:
            self.dropped += sum(len(sample.values) for sample in waiting)
            return
        self._channel.tell(SAMPLES, sample_messages(waiting))
