"""The TensorFlow script as users run it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.frameworks.scripts import figure, killed_after_a_checkpoint, script

pytestmark = [pytest.mark.frameworks, pytest.mark.timeout(400)]
NAME = "train_mnist_tensorflow.py"


@pytest.mark.shows("B4", "B46", env="laptop")
def test_it_prints_what_the_others_print_and_a_kill_changes_nothing(tmp_path: Path) -> None:
    flags = ("--epochs", 1, "--checkpoint-steps", 5, "--threads", 1)
    whole = script(NAME, *flags)
    assert whole.splitlines()[0] == "device: cpu"
    assert [line.split(":")[0] for line in whole.splitlines()[-3:]] == ["duration", "cost", "accuracy"]
    assert figure(whole, "accuracy") > 0.6
    kept = killed_after_a_checkpoint(NAME, tmp_path, *flags)
    resumed = script(NAME, *flags, "--checkpoint-dir", tmp_path)
    assert f"after step {kept}" in resumed
    assert resumed.split("loss ")[1].split("  ")[:2] == whole.split("loss ")[1].split("  ")[:2]


@pytest.mark.shows("B5", env="laptop")
def test_two_workers_by_multi_worker_mirrored() -> None:
    printed = script(NAME, "--epochs", 1, "--workers", 2, "--threads", 1)
    assert "device: cpu × 2 workers" in printed
    assert figure(printed, "accuracy") > 0.6


@pytest.mark.parametrize(
    ("arguments", "words"), [(("--output", "weights.pt"), "--output"), (("--batch-size", "x"), "--batch-size")]
)
def test_a_wrong_flag_is_named(arguments: tuple[str, ...], words: str) -> None:
    assert words in script(NAME, *arguments, status=2)
