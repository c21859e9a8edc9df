"""The calls of the Linux kernel that Python has no name for."""

from __future__ import annotations

import ctypes
import os
import signal

PR_SET_PDEATHSIG = 1
PR_SET_SECCOMP = 22
PR_SET_NO_NEW_PRIVS = 38
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWNET = 0x40000000

_libc = ctypes.CDLL(None, use_errno=True)


def prctl(option: int, first: object, second: object = 0) -> None:
    """prctl(2).

    Raises:
        OSError: the kernel refuses.
    """
    _checked(_libc.prctl(ctypes.c_int(option), _long(first), _long(second), ctypes.c_ulong(0), ctypes.c_ulong(0)))


def syscall(number: int, *arguments: object) -> int:
    """syscall(2).

    Raises:
        OSError: the kernel refuses.
    """
    return _checked(_libc.syscall(ctypes.c_long(number), *(_long(argument) for argument in arguments)))


def unshare(flags: int) -> None:
    """unshare(2).

    Raises:
        OSError: the kernel refuses.
    """
    _checked(_libc.unshare(ctypes.c_int(flags)))


def die_with_parent(parent: int) -> None:
    """Be killed when the thread that started this process ends; at once when `parent` is gone already."""
    prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL))
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)


def gain_no_privileges() -> None:
    """From here on nothing that is executed gains privileges (no set-user-ID)."""
    prctl(PR_SET_NO_NEW_PRIVS, 1)


def cut_network() -> None:
    """Move into a user and a network namespace of its own, where there is no interface that is up.

    There the process has no power over the files and processes of the other namespace beyond those of its user id,
    and may not look into the other processes of that user.

    Raises:
        OSError: the kernel does not let this user make namespaces.
    """
    unshare(CLONE_NEWUSER | CLONE_NEWNET | CLONE_NEWIPC)


def _long(value: object) -> object:
    return ctypes.c_ulong(value) if isinstance(value, int) else value


def _checked(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result
