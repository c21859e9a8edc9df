"""A version's folder as one archive, for a model server that shares no disk with the control plane."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

from maestro.core.errors import NotFound


def pack(folder: Path) -> bytes:
    """An uncompressed tar of the plain files below `folder`: manifest, statements, `files/`. The same folder gives the same bytes.

    Raises:
        NotFound: the folder is not there.
    """
    if not (folder / "manifest.json").is_file():
        raise NotFound(
            f"the files of {folder.parent.name}@{folder.name} are not here",
            remedy="restore them from a backup, or register the run again",
        )
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for path in sorted(folder.rglob("*")):
            inner = path.relative_to(folder)
            if path.is_symlink() or not path.is_file() or any(part.startswith(".") for part in inner.parts):
                continue
            entry = tarfile.TarInfo(inner.as_posix())
            entry.size = path.stat().st_size
            with path.open("rb") as file:
                archive.addfile(entry, file)
    return buffer.getvalue()
