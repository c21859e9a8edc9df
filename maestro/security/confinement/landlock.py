"""Landlock: the process gives up every file but those it names, TCP, and signals to others.

Source: https://docs.kernel.org/userspace-api/landlock.html (Linux 5.13; TCP since ABI 4, signals since ABI 6).
"""

from __future__ import annotations

import ctypes
import os
import stat
from collections.abc import Iterable

from maestro.security.confinement.kernel import syscall

CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446
_VERSION_FLAG = 1
_PATH_BENEATH = 1

EXECUTE, WRITE_FILE, READ_FILE, READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
TRUNCATE = 1 << 14
IOCTL_DEV = 1 << 15
_FIRST_ABI = (1 << 13) - 1
_ADDED = {2: 1 << 13, 3: TRUNCATE, 5: IOCTL_DEV}
"""Rights that later versions know: moving between folders, truncating, ioctl on devices."""
_FOR_FILES = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | IOCTL_DEV
_TCP = 0b11
_SCOPES = 0b11


class _Ruleset(ctypes.Structure):
    _fields_ = [("fs", ctypes.c_uint64), ("net", ctypes.c_uint64), ("scoped", ctypes.c_uint64)]


class _PathBeneath(ctypes.Structure):
    _pack_ = 1
    _layout_ = "ms"
    _fields_ = [("allowed", ctypes.c_uint64), ("parent", ctypes.c_int32)]


def version() -> int:
    """The kernel's ABI, 0 when it has none or does not let us use it."""
    try:
        return syscall(CREATE_RULESET, 0, 0, _VERSION_FLAG)
    except OSError:
        return 0


def restrict(readable: Iterable[str], listable: Iterable[str], writable: Iterable[str], devices: Iterable[str]) -> None:
    """Keep only these rights; what does not exist is left out. `no_new_privs` must be set.

    Args:
        readable: files and folders to read, list and execute from.
        listable: folders whose names may be listed, all the way down, and no more.
        writable: folders to do anything in.
        devices: device files to read and write.

    Raises:
        OSError: the kernel refuses.
    """
    abi = version()
    known = _FIRST_ABI
    for since, right in _ADDED.items():
        known |= right if abi >= since else 0
    attributes = _Ruleset(fs=known, net=_TCP if abi >= 4 else 0, scoped=_SCOPES if abi >= 6 else 0)
    size = 24 if abi >= 6 else 16 if abi >= 4 else 8
    ruleset = syscall(CREATE_RULESET, ctypes.byref(attributes), size, 0)
    try:
        for path in readable:
            _allow(ruleset, path, known & (EXECUTE | READ_FILE | READ_DIR))
        for path in listable:
            _allow(ruleset, path, known & READ_DIR)
        for path in writable:
            _allow(ruleset, path, known & ~EXECUTE)
        for path in devices:
            _allow(ruleset, path, known & (READ_FILE | WRITE_FILE))
        syscall(RESTRICT_SELF, ruleset, 0)
    finally:
        os.close(ruleset)


def _allow(ruleset: int, path: str, rights: int) -> None:
    try:
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    try:
        if not stat.S_ISDIR(os.fstat(descriptor).st_mode):
            rights &= _FOR_FILES
        if rights:
            rule = _PathBeneath(allowed=rights, parent=descriptor)
            syscall(ADD_RULE, ruleset, _PATH_BENEATH, ctypes.byref(rule), 0)
    finally:
        os.close(descriptor)
