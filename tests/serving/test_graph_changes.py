"""A change of a graph's file is seen at once, whoever makes it and however; where nobody tells, waiting ends with its time."""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from maestro.serving.graph_changes import GraphChanges

LONG_S = 5.0


def moved(folder: Path) -> None:
    (folder / "m.new").write_text("x")
    (folder / "m.new").replace(folder / "m.yaml")


def written(folder: Path) -> None:
    with (folder / "m.yaml").open("w") as file:
        file.write("x")


def removed(folder: Path) -> None:
    (folder / "m.yaml").unlink()


def turned(folder: Path) -> None:
    """What the kubelet does with a mounted ConfigMap."""
    (folder / "..new").symlink_to("..2026")
    (folder / "..new").replace(folder / "..data")


async def waited(changes: GraphChanges, timeout_s: float) -> float:
    began = time.monotonic()
    await changes.wait(timeout_s)
    return time.monotonic() - began


@pytest.mark.parametrize("change", [moved, written, removed, turned])
def test_a_change_ends_waiting_at_once(tmp_path: Path, change: Callable[[Path], None]) -> None:
    (tmp_path / "m.yaml").touch()

    async def scenario() -> tuple[float, float]:
        with GraphChanges(tmp_path) as changes:
            if not changes.told_at_once:
                pytest.skip("this kernel tells of no changes")
            asyncio.get_running_loop().call_later(0.05, change, tmp_path)
            first = await waited(changes, LONG_S)
            await waited(changes, 0.05)  # what the same change tells more
            return first, await waited(changes, 0.2)

    told, after = asyncio.run(scenario())
    assert told < 1.0
    assert after >= 0.19, "one change is told once"


def test_what_changes_between_two_waits_is_not_missed(tmp_path: Path) -> None:
    async def scenario() -> float:
        with GraphChanges(tmp_path) as changes:
            if not changes.told_at_once:
                pytest.skip("this kernel tells of no changes")
            await waited(changes, 0.01)
            moved(tmp_path)
            await asyncio.sleep(0.05)
            return await waited(changes, LONG_S)

    assert asyncio.run(scenario()) < 1.0


def test_other_files_wake_nobody(tmp_path: Path) -> None:
    async def scenario() -> float:
        with GraphChanges(tmp_path) as changes:
            asyncio.get_running_loop().call_later(0.02, (tmp_path / "m.policy.json").write_text, "{}")
            return await waited(changes, 0.2)

    assert asyncio.run(scenario()) >= 0.19


def test_a_folder_that_comes_later_and_one_that_goes(tmp_path: Path) -> None:
    folder = tmp_path / "graphs"

    async def scenario() -> None:
        with GraphChanges(folder) as changes:
            assert await waited(changes, 0.05) >= 0.04
            folder.mkdir()
            await waited(changes, 0.01)
            assert changes.told_at_once
            shutil.rmtree(folder)
            await waited(changes, 1.0)
            folder.mkdir()
            await waited(changes, 0.05)
            await waited(changes, 0.05)
            asyncio.get_running_loop().call_later(0.02, moved, folder)
            assert await waited(changes, LONG_S) < 1.0

    asyncio.run(scenario())
