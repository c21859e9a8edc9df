"""Create the environment from the hashed lock: with uv where it is installed, else with venv and pip.

Run by any Python 3: it finds a Python that is new enough, or says what is missing. A repeat is instant: the environment
remembers the digest of what it was made from.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from typing import Dict, List, Optional

NEEDED = (3, 11)
LOCK = os.path.join("requirements", "dev.lock")


def main(arguments: List[str]) -> int:
    """Set up the environment in the folder that the first argument names, from the lock that a second one may name; returns the exit status."""
    root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    os.chdir(root)
    venv = os.path.abspath(arguments[0] if arguments else ".venv")
    lock = arguments[1] if len(arguments) > 1 else LOCK
    stamp = os.path.join(venv, ".maestro-setup")
    wanted = _digest(root, lock)
    if os.path.exists(os.path.join(venv, "bin", "python")) and _read(stamp) == wanted:
        return 0
    interpreter = _interpreter()
    uv = _uv()
    if interpreter is None and uv is None:
        print(
            "Python %d.%d or newer is needed; this is %s and no newer one is on PATH. Install one, or uv, then repeat; "
            "`make setup PYTHON=/path/to/python3` names one." % (NEEDED[0], NEEDED[1], sys.version.split()[0]),
            file=sys.stderr,
        )
        return 2
    print(
        "setting up %s with %s; the first time takes minutes" % (os.path.relpath(venv), "uv" if uv else "pip"),
        file=sys.stderr,
    )
    environment = _environment()
    python = os.path.join(venv, "bin", "python")
    if uv:
        create = [uv, "venv", "--quiet", "--clear", "--python", interpreter or ">=%d.%d" % NEEDED, venv]
        install = [uv, "pip", "install", "--quiet", "--python", python]
    else:
        create = [str(interpreter), "-m", "venv", "--clear", venv]
        install = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    steps = [] if _works(python, "sys" if uv else "pip") else [create]
    steps += [
        [*install, "--no-deps", "--require-hashes", "-r", lock],  # the lock is complete
        [*install, "--no-deps", "--no-build-isolation", "-e", "."],
    ]
    for step in steps:
        status = subprocess.call(step, env=environment)
        if status:
            print("set-up failed: %s" % " ".join(step), file=sys.stderr)
            return status
    with open(stamp, "w") as handle:
        handle.write(wanted)
    return 0


def _digest(root: str, lock: str = LOCK) -> str:
    content = hashlib.sha256(root.encode())
    for name in (lock, "pyproject.toml"):
        with open(name, "rb") as handle:
            content.update(handle.read())
    return content.hexdigest()


def _read(path: str) -> Optional[str]:
    try:
        with open(path) as handle:
            return handle.read()
    except OSError:
        return None


def _uv() -> Optional[str]:
    """Where uv is, if it runs: a version manager's shim may stand on PATH for an interpreter that lacks it."""
    path = shutil.which("uv")
    return path if path and _quiet([path, "--version"]) else None


def _interpreter() -> Optional[str]:
    if sys.version_info >= NEEDED:
        return sys.executable
    for minor in range(14, NEEDED[1] - 1, -1):
        found = shutil.which("python3.%d" % minor)
        # a version manager's shim may stand for a version that is not installed
        if found and _quiet([found, "-c", ""]):
            return found
    return None


def _works(python: str, module: str) -> bool:
    test = "import sys, %s; sys.exit(sys.version_info < %r)" % (module, NEEDED)
    return os.path.exists(python) and _quiet([python, "-c", test])


def _quiet(command: List[str]) -> bool:
    with open(os.devnull, "w") as nowhere:
        return subprocess.call(command, stdout=nowhere, stderr=nowhere) == 0


def _environment() -> Dict[str, str]:
    """The environment of the installers; caches go elsewhere where the home folder cannot be written."""
    environment = dict(os.environ)
    environment.pop("PYTHONPATH", None)
    environment.pop("VIRTUAL_ENV", None)
    home = os.path.expanduser("~")
    if not os.access(home, os.W_OK):
        caches = tempfile.mkdtemp(prefix="maestro-setup-")
        environment.setdefault("UV_CACHE_DIR", os.path.join(caches, "uv"))
        environment.setdefault("PIP_CACHE_DIR", os.path.join(caches, "pip"))
    return environment


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
