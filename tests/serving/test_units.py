"""Units under a keyed hash."""

from __future__ import annotations

from pathlib import Path

import pytest

from maestro.core.clock import ManualClock
from maestro.core.errors import Malformed, Refused
from maestro.serving.units import ROTATION, UnitHasher


def test_the_same_unit_has_the_same_name_in_every_process(home: Path, clock: ManualClock) -> None:
    path = home / "keys" / "units.json"
    assert UnitHasher(path, clock).hash("7") == UnitHasher(path, clock).hash("7")
    assert UnitHasher(path, clock).hash("7") != UnitHasher(path, clock).hash("8")
    assert path.stat().st_mode & 0o777 == 0o600


def test_another_home_gives_other_names(tmp_path: Path, clock: ManualClock) -> None:
    one, other = (UnitHasher(tmp_path / name / "units.json", clock) for name in ("one", "other"))
    assert one.hash("7").partition("-")[2] != other.hash("7").partition("-")[2]


def test_a_key_rotates_out_after_two_periods(home: Path, clock: ManualClock) -> None:
    hasher = UnitHasher(home / "units.json", clock)
    first = hasher.hash("7")
    assert not hasher.rotate_if_due()
    clock.sleep(ROTATION.total_seconds())
    assert hasher.rotate_if_due()
    assert hasher.hash("7") != first
    assert first in hasher.names("7")
    clock.sleep(ROTATION.total_seconds())
    assert hasher.rotate_if_due()
    assert first not in hasher.names("7")
    assert first.partition("-")[0] not in (home / "units.json").read_text()


def test_an_open_or_broken_key_file_is_refused(home: Path, clock: ManualClock) -> None:
    path = home / "units.json"
    UnitHasher(path, clock)
    path.chmod(0o644)
    with pytest.raises(Refused):
        UnitHasher(path, clock)
    path.chmod(0o600)
    path.write_text("{")
    with pytest.raises(Malformed):
        UnitHasher(path, clock)
