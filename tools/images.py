"""Build the images of infrastructure/versions.yaml that are ours, with the engine that is here, and hand them to the cluster.

    python -m tools.images [--only NAME ...] [--load]

`MAESTRO_IMAGE_BUILD` is the command that takes `-t NAME -f DOCKERFILE CONTEXT` (default: the first of docker, podman and buildah, with `build`);
`MAESTRO_IMAGE_LOAD` the one that brings an image of that engine into the cluster's nodes (default: `minikube image load`, or `kind load docker-image`).
Exit status: 2 wrong use or no engine; else that of the first command that failed.
"""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1]
ENGINES = ("docker", "podman", "buildah")
LOADERS = {"minikube": "minikube image load", "kind": "kind load docker-image"}


class NoEngine(Exception):
    """Nothing here builds or loads images."""


def ours() -> dict[str, tuple[str, Path]]:
    """Folder name to reference and Dockerfile, in the order of versions.yaml."""
    listed = yaml.safe_load((ROOT / "infrastructure/versions.yaml").read_text())["images"]
    return {
        Path(entry["built"]).name: (f"{entry['name']}:{entry['tag']}", ROOT / entry["built"] / "Dockerfile")
        for entry in listed
        if "built" in entry
    }


def builder() -> list[str]:
    """The command that builds.

    Raises:
        NoEngine: there is none.
    """
    if given := os.environ.get("MAESTRO_IMAGE_BUILD"):
        return shlex.split(given)
    for engine in ENGINES:
        if shutil.which(engine):
            return [engine, "build"]
    raise NoEngine(f"nothing builds images here: install one of {', '.join(ENGINES)}, or set MAESTRO_IMAGE_BUILD")


def loader() -> list[str]:
    """The command that loads.

    Raises:
        NoEngine: there is none.
    """
    if given := os.environ.get("MAESTRO_IMAGE_LOAD"):
        return shlex.split(given)
    for program, command in LOADERS.items():
        if shutil.which(program):
            return shlex.split(command)
    raise NoEngine("nothing loads images here: set MAESTRO_IMAGE_LOAD, or push them to a registry of yours")


def build(reference: str, dockerfile: Path, context: Path = ROOT) -> None:
    """Build one image.

    Raises:
        CalledProcessError: the engine says no.
    """
    subprocess.run([*builder(), "-t", reference, "-f", str(dockerfile), str(context)], check=True, cwd=context)


def load(reference: str) -> None:
    """Bring one image into the nodes.

    Raises:
        CalledProcessError: it did not get there.
    """
    subprocess.run([*loader(), reference], check=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Build, and load where that is asked for."""
    known = ours()
    parser = argparse.ArgumentParser(prog="python -m tools.images", description=__doc__)
    parser.add_argument("--only", action="append", choices=sorted(known), help="one image; may be repeated")
    parser.add_argument("--load", action="store_true", help="into the cluster's nodes, too")
    given = parser.parse_args(arguments)
    try:
        for name in given.only or known:
            reference, dockerfile = known[name]
            began = time.monotonic()
            build(reference, dockerfile)
            if given.load:
                load(reference)
            print(f"{reference}: {time.monotonic() - began:.0f} s", flush=True)
    except NoEngine as error:
        print(error, file=sys.stderr)
        return 2
    except subprocess.CalledProcessError as error:
        print(f"{shlex.join(map(str, error.cmd))}: exit status {error.returncode}", file=sys.stderr)
        return error.returncode
    return 0


if __name__ == "__main__":
    sys.exit(main())
