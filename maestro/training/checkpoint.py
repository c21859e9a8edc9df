"""Checkpoints of one training: a killed process loses no more than the interval between two of them.

A checkpoint is one file, `<step>-<fence>.ckpt`: a line of JSON (step, identity, digest, size) and the state. It is written beside itself, synced and renamed, so that there is either
a whole checkpoint or none; one whose digest does not hold is skipped for the one before it. Attempts of one job share the folder and write under their own fence.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from maestro.core.errors import Unreachable

KEPT = 2
"""How many checkpoints stay: the newest may be the one that a dying disk damaged."""


@dataclass(frozen=True)
class Saved:
    """One whole checkpoint."""

    step: int
    state: bytes


class Checkpoints:
    """The checkpoints of one training in one folder.

    Args:
        folder: shared by the attempts of the job.
        identity: what is being trained (data, parameters, code that matters); checkpoints of anything else are not seen.
        fence: of this attempt; two attempts never write the same file.
        writes: whether this process keeps checkpoints (rank 0 of a group) or only reads them.
        told: given the step after each one that was written.
    """

    def __init__(
        self,
        folder: Path,
        identity: str = "",
        *,
        fence: int = 0,
        writes: bool = True,
        told: Callable[[int], None] | None = None,
    ) -> None:
        self.folder = folder
        self._identity = identity
        self._fence = fence
        self._writes = writes
        self._told = told

    def save(self, step: int, state: bytes) -> None:
        """Keep `state` as that after `step`, and drop all but the newest two.

        Raises:
            Unreachable: the disk is full or gone.
        """
        if not self._writes:
            return
        facts = {"step": step, "identity": self._identity, "digest": sha256(state).hexdigest(), "size": len(state)}
        head = json.dumps(facts).encode()
        path = self.folder / f"{step:012d}-{self._fence}.ckpt"
        partial = path.with_suffix(f".{os.getpid()}.part")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with partial.open("wb") as handle:
                handle.write(head + b"\n" + state)
                handle.flush()
                os.fsync(handle.fileno())
            partial.replace(path)
            for old in self._files()[KEPT:]:
                old.unlink(missing_ok=True)
        except OSError as error:
            with contextlib.suppress(OSError):
                partial.unlink()
            raise Unreachable(
                f"the checkpoint of step {step} cannot be written: {error.strerror or error}",
                remedy="free disk space",
                component="disk",
            ) from error
        if self._told is not None:
            self._told(step)

    def latest(self) -> Saved | None:
        """The newest whole checkpoint; None when there is none."""
        for path in self._files():
            try:
                head, _, state = path.read_bytes().partition(b"\n")
                facts = json.loads(head)
                if facts["identity"] != self._identity:
                    continue
                if facts["size"] == len(state) and facts["digest"] == sha256(state).hexdigest():
                    return Saved(int(facts["step"]), state)
            except (OSError, ValueError, KeyError, TypeError):
                continue
        return None

    def clear(self) -> None:
        """Drop them all: the training is done."""
        if self._writes:
            for path in [*self._files(), *self.folder.glob("*.part")]:
                path.unlink(missing_ok=True)

    def _files(self) -> list[Path]:
        return sorted(self.folder.glob("*.ckpt"), key=_step, reverse=True)


def _step(path: Path) -> tuple[int, int]:
    step, _, fence = path.stem.partition("-")
    return (int(step), int(fence)) if step.isdigit() and fence.isdigit() else (-1, -1)
