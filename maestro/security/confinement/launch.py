"""The first program of a sandboxed process: gives up what it may not have, checks that it is gone, and becomes the program asked for.

It reports over a pipe that closes when it becomes that program: one JSON line, the last one counts.
"""

from __future__ import annotations

import json
import os
import resource
import socket
import sys
from typing import Any, NoReturn

from maestro.security.confinement import kernel, landlock, seccomp

FAILED = 126
_DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom")
# Of /proc only what is about the machine and about the process itself: Landlock alone does not keep other processes' environments from being read.
_SYSTEM = (
    "/usr", "/lib", "/lib64", "/bin", "/sys/devices/system", "/sys/fs/cgroup",
    "/proc/self", "/proc/cpuinfo", "/proc/meminfo", "/proc/stat", "/proc/loadavg", "/proc/version", "/proc/filesystems", "/proc/sys",
    "/etc/ld.so.cache", "/etc/localtime", "/etc/nsswitch.conf", "/etc/passwd", "/etc/group", "/etc/mime.types", "/etc/ssl/openssl.cnf",
)  # fmt: skip


class CannotConfine(Exception):
    """The kernel does not offer what is needed; the text says what, and what would help."""


def main() -> NoReturn:
    """Confine this process as `sys.argv[1]` (JSON) says, then execute its `argv`."""
    order = json.loads(sys.argv[1])
    status = int(order["status"])
    os.set_inheritable(status, False)
    try:
        used = confine(order)
        _tell(status, {"means": used})
        os.execve(order["argv"][0], order["argv"], dict(os.environ))  # noqa: S606 - an argument list, no shell
    except CannotConfine as error:
        _tell(status, {"error": str(error)})
    except OSError as error:
        _tell(status, {"error": f"{order['argv'][0]}: {error.strerror}"})
    os._exit(FAILED)


def confine(order: dict[str, Any]) -> list[str]:
    """Apply every one of the `means` that the kernel offers and check what they are for.

    Raises:
        CannotConfine: the network, other processes' secrets, or a private file can still be reached.
    """
    parent, means = int(order["parent"]), set(order["means"])
    kernel.die_with_parent(parent)
    for name, limit in order["limits"].items():
        kind = getattr(resource, name)
        hard = resource.getrlimit(kind)[1]
        value = int(limit) if hard == resource.RLIM_INFINITY else min(int(limit), hard)
        resource.setrlimit(kind, (value, value))
    used: list[str] = []
    if "namespace" in means and _works(kernel.cut_network):
        used.append("namespace")
        # The change of user namespace forgot it.
        kernel.die_with_parent(parent)
    kernel.gain_no_privileges()
    if "landlock" in means and landlock.version() > 0:
        landlock.restrict([*_SYSTEM, *order["readable"]], order["listable"], order["writable"], _DEVICES)
        used.append("landlock")
    if "seccomp" in means and _works(seccomp.install):
        used.append("seccomp")
    if not {"namespace", "seccomp"} & set(used):
        raise CannotConfine(
            "the network cannot be cut off: the kernel allows neither user namespaces nor system call filters"
        )
    _check(parent, order["private"], used)
    return used


def _check(parent: int, private: list[str], used: list[str]) -> None:
    """Trust no flag: try what must not work."""
    if "seccomp" in used and _works(lambda: socket.socket(socket.AF_INET, socket.SOCK_STREAM).close()):
        raise CannotConfine("the system call filter does not hold")
    if _readable(f"/proc/{parent}/environ"):
        raise CannotConfine(
            "the environment of the parent can be read: the kernel offers neither Landlock nor user namespaces"
        )
    for path in private:
        if _readable(path):
            raise CannotConfine(f"{path} can be read: the kernel offers no Landlock")


def _readable(path: str) -> bool:
    def attempt() -> None:
        if os.path.isdir(path):
            os.listdir(path)
            return
        with open(path, "rb") as file:
            file.read(1)

    return _works(attempt)


def _works(action: Any) -> bool:
    try:
        action()
    except OSError:
        return False
    return True


def _tell(status: int, message: dict[str, Any]) -> None:
    os.write(status, (json.dumps(message) + "\n").encode())
