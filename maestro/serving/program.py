"""Programs in C, compiled where a compiler is to be had. Their sources are ours, and the same for every model and caller.

    python -m maestro.serving.program

compiles all of them beside their sources, for an installation that will have no compiler, such as an image.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

COMPILERS = ("gcc", "cc", "clang")
_COMPILE_S = 60


class NoCompiler(Exception):
    """The program cannot be compiled here; the text says why."""


def compile_program(source: Path, target: Path, compiler: str | None = None, options: Sequence[str] = ()) -> None:
    """Write the program to `target`, whole or not at all.

    Args:
        options: more of them for the compiler.

    Raises:
        NoCompiler: there is no compiler, or it fails.
    """
    ready = compiled_before(source)
    if ready.is_file() and not options:
        _put(ready, target)
        return
    found = compiler or next((path for path in map(shutil.which, COMPILERS) if path), None)
    if found is None:
        raise NoCompiler(f"no C compiler is installed ({', '.join(COMPILERS)})")
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        built = Path(folder) / target.name
        try:
            # No option of this very processor: a plan may be read on another machine of its kind. No reordering of sums either.
            done = subprocess.run(
                [found, "-O3", "-ffp-contract=off", "-shared", "-fPIC", *options, "-o", str(built), str(source), "-lm"],
                capture_output=True, text=True, timeout=_COMPILE_S, check=False,
            )  # fmt: skip
        except (OSError, subprocess.TimeoutExpired) as error:
            raise NoCompiler(f"{found} does not run: {error}") from None
        if done.returncode:
            raise NoCompiler(f"{found} fails: {(done.stderr.splitlines() or ['no message'])[0][:200]}")
        built.replace(target)


def compiled_before(source: Path) -> Path:
    """Where `python -m maestro.serving.program` puts what it has compiled of this very text."""
    return source.with_name(f"{source.stem}-{hashlib.sha256(source.read_bytes()).hexdigest()[:16]}.so")


def _put(ready: Path, target: Path) -> None:
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        shutil.copyfile(ready, Path(folder) / target.name).replace(target)


def main() -> int:
    """Compile all; 1 where that fails."""
    for source in sorted(Path(__file__).parent.rglob("*.c")):
        try:
            compile_program(source, compiled_before(source))
        except NoCompiler as error:
            print(f"{source.name}: {error}", file=sys.stderr)
            return 1
        print(compiled_before(source))
    return 0


if __name__ == "__main__":
    sys.exit(main())
