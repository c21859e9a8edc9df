"""Changes of a folder of graphs: told by the kernel at once where it can (inotify), and looked for again and again everywhere."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import logging
import os
import struct
from pathlib import Path
from types import TracebackType
from typing import Self

log = logging.getLogger(__name__)

_WRITTEN, _MOVED_HERE, _DELETED, _IGNORED, _ONLY_FOLDER = 0x8, 0x80, 0x200, 0x8000, 0x1000000
_EVENT = struct.Struct("iIII")
_READ_BYTES = 1 << 16


class GraphChanges:
    """Wakes who waits when a graph in the folder may have changed. Belongs to one event loop.

    A file counts once its writer has closed it or moved it into its place, and a mounted ConfigMap when the kubelet turns its `..data` link. Where the
    kernel tells nothing (a network's file system, another operating system, a folder that is not there yet), waiting ends with its time.

    Args:
        folder: need not be there.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._told = asyncio.Event()
        self._descriptor = -1
        self._watching = False

    def __enter__(self) -> Self:
        self._descriptor = _inotify()
        if self._descriptor >= 0:
            asyncio.get_running_loop().add_reader(self._descriptor, self._read)
            self._watch()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._descriptor >= 0:
            asyncio.get_running_loop().remove_reader(self._descriptor)
            os.close(self._descriptor)
            self._descriptor = -1

    @property
    def told_at_once(self) -> bool:
        """Whether the kernel watches the folder."""
        return self._watching

    def tell(self) -> None:
        """Wake who waits."""
        self._told.set()

    async def wait(self, timeout_s: float) -> None:
        """Return when something may have changed since the last call returned, or after `timeout_s`."""
        if not self._watching:
            self._watch()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._told.wait()
        self._told.clear()

    def _watch(self) -> None:
        if self._descriptor < 0:
            return
        path = os.fsencode(self._folder)
        events = _WRITTEN | _MOVED_HERE | _DELETED | _ONLY_FOLDER
        self._watching = ctypes.CDLL(None).inotify_add_watch(self._descriptor, path, events) >= 0

    def _read(self) -> None:
        try:
            data = os.read(self._descriptor, _READ_BYTES)
        except BlockingIOError:
            return
        start = 0
        while start < len(data):
            _, events, _, length = _EVENT.unpack_from(data, start)
            start += _EVENT.size
            name = data[start : start + length].rstrip(b"\0")
            start += length
            if events & _IGNORED:
                self._watching = False  # the folder is gone; another may take its place
            # a queue that overflowed names nothing
            if not name or name.endswith(b".yaml") or name.startswith(b".."):
                self.tell()


def _inotify() -> int:
    """A descriptor; -1 where there is none to be had."""
    try:
        descriptor: int = ctypes.CDLL(None).inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
    except (AttributeError, OSError):
        return -1
    if descriptor < 0:
        log.warning("the kernel tells of no changes: graphs are looked at from time to time")
    return descriptor
