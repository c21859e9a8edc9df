"""Policy snapshots as files next to the graphs: written once, replaced never; the current one is named by a file that is replaced atomically."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from maestro.clients.home import write_private
from maestro.core.errors import BadInput, Conflict, Malformed, NotFound, from_validation
from maestro.core.model import Model, Time
from maestro.decisions.bandits.snapshot import Snapshot

FOLDER = "bandits"


class ArmSummary(Model):
    """One arm in the log: first exposures, those whose reward is here, the sum of their rewards."""

    arm: str
    exposures: int
    rewarded: int
    reward: float


class BanditSummary(Model):
    """What a bandit has brought so far, as far as its log tells.

    `regret` estimates the reward that always taking the arm now believed best for each unit would have added; `exploration_rate` is the share of
    exposures in which the policy did not take the arm that it then believed best.
    """

    model: str
    experiment: str
    at: Time
    snapshot: str
    arms: tuple[ArmSummary, ...]
    regret: float
    exploration_rate: float


class SnapshotStore:
    """The snapshots of one bandit: `graphs/bandits/<model>/<experiment>/`.

    Files: `<number>-<digest>.json` for each snapshot, `current.json` (a copy of the newest), `summary.json`.

    Args:
        graphs: the folder of the graph files.
    """

    def __init__(self, graphs: Path, model: str, experiment: str) -> None:
        self.folder = graphs / FOLDER / model / experiment
        self.model = model
        self.experiment = experiment

    @property
    def current_path(self) -> Path:
        """The file that a server follows."""
        return self.folder / "current.json"

    def current(self) -> Snapshot | None:
        """The newest snapshot; None before the first.

        Raises:
            Malformed: the file cannot be read.
        """
        return _read(self.current_path)

    def find(self, digest: str) -> Snapshot:
        """The snapshot with this digest.

        Raises:
            NotFound: there is none here.
        """
        for path in self.folder.glob(f"*-{digest.removeprefix('sha256:')[:16]}.json"):
            found = _read(path)
            if found is not None and found.content_digest() == digest:
                return found
        raise NotFound(
            f"bandit {self.experiment!r} of {self.model!r} has no snapshot {digest[:23]}…",
            field="snapshot",
            remedy=f"restore the files of {self.folder}",
        )

    def publish(self, snapshot: Snapshot, summary: BanditSummary) -> None:
        """Make a snapshot the current one; durable when it returns.

        Raises:
            Conflict: its number does not follow the current one's: somebody published in between.
        """
        with self._locked():
            current = self.current()
            expected = 0 if current is None else current.number + 1
            if snapshot.number < expected:
                raise Conflict(
                    f"bandit {self.experiment!r} is at snapshot {expected - 1} already",
                    field="number",
                    remedy="read the log again and learn again",
                )
            text = json.dumps(snapshot.document())
            name = f"{snapshot.number:08d}-{snapshot.content_digest().removeprefix('sha256:')[:16]}.json"
            write_private(self.folder / name, text)
            write_private(self.current_path, text)
            write_private(self.folder / "summary.json", json.dumps(summary.document()))

    def summary(self) -> BanditSummary | None:
        """What the last learning found; None before the first."""
        try:
            return BanditSummary.model_validate_json((self.folder / "summary.json").read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, ValidationError):
            raise Malformed(f"{self.folder / 'summary.json'} cannot be read", remedy="learn again") from None

    @contextmanager
    def _locked(self) -> Iterator[None]:
        self.folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self.folder / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


def stores(graphs: Path) -> list[SnapshotStore]:
    """Every bandit that has learnt something."""
    return [
        SnapshotStore(graphs, path.parent.parent.name, path.parent.name)
        for path in sorted((graphs / FOLDER).glob("*/*/current.json"))
    ]


def read_snapshot(path: Path) -> Snapshot:
    """A snapshot from a file that somebody names.

    Raises:
        NotFound: there is none.
        BadInput: it is no snapshot; names the field.
    """
    found = _read(path)
    if found is None:
        raise NotFound(f"there is no file {path}", field="snapshot", remedy="name a snapshot's file")
    return found


def _read(path: Path) -> Snapshot | None:
    try:
        document: Any = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError):
        raise Malformed(f"{path} cannot be read", field="snapshot", remedy="restore the file") from None
    try:
        return Snapshot.model_validate(document)
    except ValidationError as error:
        refused: BadInput = from_validation(error, path.name)
        raise refused from None
