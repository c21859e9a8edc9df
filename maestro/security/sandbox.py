"""A child process without credentials or network, for formats that execute code when they are loaded (pickle, pyfunc code).

What the child has: an environment of a few harmless names, the folders it is given to read, a private folder to write, its pipes, limited memory.
What it has not: any socket, the other processes' memory and environment, any other file (keys, databases), privileges to gain, a life after its parent.

Means, each used when the kernel offers it: a user and network namespace, a Landlock domain, a seccomp filter. The child itself checks, before it runs
anything, that what must not work does not; where that fails nothing is run.
"""

from __future__ import annotations

import json
import os
import select
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import weakref
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import IO, Any, Literal

import maestro
from maestro.core.errors import Refused, Unreachable

Means = Literal["namespace", "landlock", "seccomp"]
ALL_MEANS: tuple[Means, ...] = ("namespace", "landlock", "seccomp")

START_TIMEOUT_S = 30.0

_KEPT = ("LANG", "LC_ALL", "LC_CTYPE", "TZ", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
_LAUNCH = (
    "import sys; sys.path.insert(0, sys.argv.pop(1)); from maestro.security.confinement.launch import main; main()"
)
_REMEDY = (
    "use a kernel with Landlock (5.13 or later) and seccomp, or save the model in a format that executes no code "
    "(ONNX, skops)"
)


@dataclass(frozen=True)
class SandboxLimits:
    """What the child may use: address space and file sizes in bytes, processor time in seconds (no limit when None), open files."""

    memory_bytes: int = 8 * 2**30
    file_bytes: int = 256 * 2**20
    cpu_s: int | None = None
    open_files: int = 256

    def as_rlimits(self) -> dict[str, int]:
        """By the names of the `resource` module."""
        limits = {
            "RLIMIT_AS": self.memory_bytes,
            "RLIMIT_FSIZE": self.file_bytes,
            "RLIMIT_NOFILE": self.open_files,
            "RLIMIT_CORE": 0,
        }
        return limits if self.cpu_s is None else limits | {"RLIMIT_CPU": self.cpu_s}


class SandboxedProcess(subprocess.Popen[bytes]):
    """A running child; `means` says what confines it, `folder` is its private folder, removed after it."""

    means: tuple[str, ...] = ()
    folder: Path = Path()


def popen(
    argv: Sequence[str],
    *,
    readable: Path | Sequence[Path],
    private: Sequence[Path] = (),
    env: Mapping[str, str] | None = None,
    limits: SandboxLimits | None = None,
    stderr: int | IO[bytes] | None = None,
    means: Sequence[Means] = ALL_MEANS,
) -> SandboxedProcess:
    """Start `argv` confined; talk to it over `stdin` and `stdout`. It is killed when this process ends, however it ends.

    Thread-safe. The caller closes the pipes and waits for the child, as with any Popen.

    Args:
        argv: the program (an absolute path, such as `sys.executable`) and its arguments.
        readable: files and folders it may read, beside Python, its packages and the system's libraries.
        private: files and folders that it must not be able to read, checked by the child itself.
        env: variables it gets beside the harmless ones; never hand it a secret.
        limits: what it may use.
        stderr: where its errors go; this process's when None.
        means: the kernel's means that may be used.

    Raises:
        Refused: this machine cannot confine it; nothing was run.
        Unreachable: it does not start.
    """
    if sys.platform != "linux":
        raise Refused(f"no sandbox on {sys.platform}: code of a model is not run", remedy=_REMEDY)
    folder = Path(tempfile.mkdtemp(prefix="maestro-sandbox-"))
    try:
        process = _spawner(os.getpid()).submit(
            _start, argv, _paths(readable), private, env or {}, limits or SandboxLimits(), stderr, means, folder
        ).result()  # fmt: skip
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    weakref.finalize(process, shutil.rmtree, folder, ignore_errors=True)
    return process


@lru_cache(maxsize=1)
def _spawner(pid: int) -> ThreadPoolExecutor:
    """One thread that lives as long as the process `pid`: the kernel kills a child when the thread that started it ends."""
    return ThreadPoolExecutor(max_workers=1, thread_name_prefix="sandbox")


def _start(
    argv: Sequence[str],
    readable: Sequence[Path],
    private: Sequence[Path],
    env: Mapping[str, str],
    limits: SandboxLimits,
    stderr: int | IO[bytes] | None,
    means: Sequence[Means],
    folder: Path,
) -> SandboxedProcess:
    package = Path(maestro.__file__).resolve().parent
    reader, writer = os.pipe()
    try:
        order = {
            "argv": list(argv),
            "parent": os.getpid(),
            "status": writer,
            "limits": limits.as_rlimits(),
            "readable": [*_python(), str(package), *(str(path.resolve()) for path in readable)],
            "listable": [str(package.parent)],
            "writable": [str(folder)],
            "private": [str(path.resolve()) for path in private if path.exists()],
            "means": list(means),
        }
        process = SandboxedProcess(
            [sys.executable, "-I", "-S", "-c", _LAUNCH, str(package.parent), json.dumps(order)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            cwd=folder,
            env=_environment(folder, env),
            pass_fds=(writer,),
            start_new_session=True,
        )
    except OSError as error:
        os.close(reader)
        raise Unreachable(f"the sandbox does not start: {error.strerror}", component="sandbox") from error
    finally:
        os.close(writer)
    with os.fdopen(reader, "rb") as report:
        told = _last_report(report)
    if "means" not in told:
        _end(process)
        raise Refused(f"code of a model is not run: {told.get('error', 'the sandbox did not report')}", remedy=_REMEDY)
    process.means = tuple(told["means"])
    process.folder = folder
    return process


def _last_report(report: IO[bytes]) -> dict[str, Any]:
    """What the launcher told last before it became the program; nothing when it does not come to that in time."""
    told: dict[str, Any] = {}
    descriptor, content = report.fileno(), b""
    while select.select([descriptor], [], [], START_TIMEOUT_S)[0]:
        chunk = os.read(descriptor, 4096)
        if not chunk:
            for line in content.splitlines():
                told = json.loads(line)
            return told
        content += chunk
    return told


def _end(process: SandboxedProcess) -> None:
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout, process.stderr):
        if pipe is not None:
            pipe.close()


def _environment(folder: Path, extra: Mapping[str, str]) -> dict[str, str]:
    kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
    return {
        "PATH": "/usr/bin:/bin",
        "HOME": str(folder),
        "TMPDIR": str(folder),
        "LANG": "C.UTF-8",
        "PYTHONDONTWRITEBYTECODE": "1",
        **kept,
        **extra,
    }


def _python() -> list[str]:
    """Where this Python and its packages lie."""
    found = {sys.prefix, sys.base_prefix, sys.exec_prefix, *sysconfig.get_paths().values()}
    found |= {str(Path(path).resolve()) for path in found}
    found.add(str(Path(sys.executable).resolve().parent))
    return sorted(path for path in found if Path(path).is_dir())


def _paths(paths: Path | Sequence[Path]) -> Sequence[Path]:
    return [paths] if isinstance(paths, Path) else list(paths)
