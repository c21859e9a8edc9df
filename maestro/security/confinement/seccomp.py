"""A system call filter: no socket of any kind, no look into or signal to other processes, no new namespaces, no mounts.

Source: https://docs.kernel.org/userspace-api/seccomp_filter.html. io_uring is refused because it makes sockets past any filter.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
from dataclasses import dataclass

from maestro.security.confinement.kernel import PR_SET_SECCOMP, prctl

_MODE_FILTER = 2
_ALLOW = 0x7FFF0000
_ERRNO = 0x00050000
_KILL = 0x80000000

_LOAD, _AND, _EQUAL, _AT_LEAST, _RETURN = 0x20, 0x54, 0x15, 0x35, 0x06
_NR, _ARCH, _ARG0, _ARG1 = 0, 4, 16, 24
_X32 = 0x40000000
_AF_UNIX, _SOCK_STREAM, _SOCK_TYPE = 1, 1, 0xF


@dataclass(frozen=True)
class Machine:
    """The numbers of one architecture."""

    audit: int
    refused: tuple[int, ...]
    socketpair: int
    kill: int
    tgkill: int


# socket, connect, bind, listen, accept, accept4; ptrace, process_vm_readv, process_vm_writev, kcmp; tkill, rt_sigqueueinfo, rt_tgsigqueueinfo;
# bpf, perf_event_open, userfaultfd; add_key, request_key, keyctl; mount, umount2, pivot_root, unshare, setns, open_by_handle_at;
# pidfd_send_signal, io_uring_setup, pidfd_getfd
MACHINES = {
    "x86_64": Machine(
        audit=0xC000003E,
        refused=(
            41, 42, 49, 50, 43, 288, 101, 310, 311, 312, 200, 129, 297, 321, 298, 323, 248, 249, 250, 165, 166, 155, 272, 308, 304,
            424, 425, 438,
        ),
        socketpair=53,
        kill=62,
        tgkill=234,
    ),
    "aarch64": Machine(
        audit=0xC00000B7,
        refused=(
            198, 203, 200, 201, 202, 242, 117, 270, 271, 272, 130, 138, 240, 280, 241, 282, 217, 218, 219, 40, 39, 41, 97, 268, 265,
            424, 425, 438,
        ),
        socketpair=199,
        kill=129,
        tgkill=131,
    ),
}  # fmt: skip


class _Instruction(ctypes.Structure):
    _fields_ = [("code", ctypes.c_uint16), ("jt", ctypes.c_uint8), ("jf", ctypes.c_uint8), ("k", ctypes.c_uint32)]


class _Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_uint16), ("filter", ctypes.POINTER(_Instruction))]


def install() -> None:
    """Filter this process and all it starts. `no_new_privs` must be set.

    Raises:
        OSError: the kernel refuses, or the machine is of an architecture that is not known here.
    """
    machine = MACHINES.get(platform.machine())
    if machine is None:
        raise OSError(errno.ENOSYS, f"no system call numbers for {platform.machine()}")
    instructions = [_Instruction(*step) for step in program(machine, os.getpid())]
    array = (_Instruction * len(instructions))(*instructions)
    prctl(PR_SET_SECCOMP, _MODE_FILTER, ctypes.byref(_Program(len(instructions), array)))


def program(machine: Machine, pid: int) -> list[tuple[int, int, int, int]]:
    """The filter as `(code, jump if true, jump if false, constant)`."""
    refuse = (_RETURN, 0, 0, _ERRNO | errno.EPERM)
    allow = (_RETURN, 0, 0, _ALLOW)
    code: list[tuple[int, int, int, int]] = [
        (_LOAD, 0, 0, _ARCH),
        (_EQUAL, 1, 0, machine.audit),
        (_RETURN, 0, 0, _KILL),
        (_LOAD, 0, 0, _NR),
        (_AT_LEAST, 0, 1, _X32),
        refuse,
    ]
    for number in machine.refused:
        code += [(_EQUAL, 0, 1, number), refuse]
    # A pair of stream sockets is a pipe both ways; datagram sockets could send to any path.
    code += [
        (_EQUAL, 0, 8, machine.socketpair),
        (_LOAD, 0, 0, _ARG0),
        (_EQUAL, 1, 0, _AF_UNIX),
        refuse,
        (_LOAD, 0, 0, _ARG1),
        (_AND, 0, 0, _SOCK_TYPE),
        (_EQUAL, 1, 0, _SOCK_STREAM),
        refuse,
        allow,
    ]
    for number in (machine.kill, machine.tgkill):
        code += [(_EQUAL, 0, 4, number), (_LOAD, 0, 0, _ARG0), (_EQUAL, 1, 0, pid), refuse, allow]
    return [*code, allow]
