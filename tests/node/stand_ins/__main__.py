"""`python -m tests.node.stand_ins [NAME ...]`: build the stand-ins and load them into the node, by the same commands as our own images."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import yaml

from tests.node.stand_ins.catalogue import HERE, STAND_INS, StandIn
from tools.images import ROOT, NoEngine, build, load


def reference(image: str) -> str:
    """Name and tag, as versions.yaml has them."""
    listed = yaml.safe_load((ROOT / "infrastructure/versions.yaml").read_text())["images"]
    return next(f"{entry['name']}:{entry['tag']}" for entry in listed if entry["name"] == image)


def make(one: StandIn) -> str:
    """Build one and load it; its reference."""
    with tempfile.TemporaryDirectory() as folder:
        context = Path(folder)
        if one.folder is not None:
            shutil.copytree(HERE / one.folder, context, dirs_exist_ok=True)
        if one.program is not None:
            found = shutil.which(one.program)
            if found is None:
                raise NoEngine(f"{one.program} is not on PATH")
            shutil.copy2(found, context / one.program)
        if one.folder is None:
            text = f'FROM scratch\nCOPY {one.program} {one.at}\nUSER 65532:65532\nENTRYPOINT ["{one.at}"]\n'
            (context / "Dockerfile").write_text(text)
        name = reference(one.image)
        build(name, context / "Dockerfile", context)
        load(name)
    return name


def main(names: list[str]) -> int:
    """All of them, or those whose image holds one of the names."""
    try:
        for one in STAND_INS:
            if not names or any(name in one.image for name in names):
                print(f"{make(one)}: {one.by}", flush=True)
    except NoEngine as error:
        print(error, file=sys.stderr)
        return 2
    except subprocess.CalledProcessError as error:
        return error.returncode
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
