"""The PyTorch scripts as users run them: their lines, real files, a kill in mid-run, two workers."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import numpy as np
import pytest

from tests.frameworks.scripts import figure, killed_after_a_checkpoint, script
from tests.training.examples.files import write_cifar10, write_mnist

pytestmark = [pytest.mark.frameworks, pytest.mark.timeout(300)]


def loss_of(printed: str) -> float:
    """Of the first epoch that is told."""
    found = re.search(r"loss ([0-9.]+)", printed)
    assert found, printed
    return float(found[1])


@pytest.mark.shows("B44", "B46", env="laptop")
def test_mnist_prints_what_was_promised_and_learns() -> None:
    printed = script("train_mnist.py", "--epochs", 2)
    lines = printed.splitlines()
    assert lines[0] == "device: cpu"
    assert "not MNIST" in lines[1]
    assert [line.split("  ")[0] for line in lines[2:4]] == ["epoch 1/2", "epoch 2/2"]
    assert [line.split(":")[0] for line in lines[4:7]] == ["duration", "cost", "accuracy"]
    assert figure(printed, "accuracy") > 0.9
    assert figure(printed, "cost") > 0


@pytest.mark.shows("A12", "B44", env="laptop")
def test_mnist_reads_the_real_files(tmp_path: Path) -> None:
    write_mnist(tmp_path, train=300, test=50)
    printed = script("train_mnist.py", "--epochs", 1, "--data-dir", tmp_path)
    assert "MNIST from" in printed
    assert "300 pictures to train on, 50 to test" in printed


@pytest.mark.shows("B10", "B44", env="laptop")
def test_killed_in_mid_run_it_ends_with_the_same_weights(tmp_path: Path) -> None:
    flags = ("--epochs", 1, "--checkpoint-steps", 4, "--threads", 1)
    script("train_mnist.py", *flags, "--output", tmp_path / "whole.pt")
    kept = killed_after_a_checkpoint("train_mnist.py", tmp_path / "kept", *flags)
    printed = script(
        "train_mnist.py", *flags, "--checkpoint-dir", tmp_path / "kept", "--output", tmp_path / "resumed.pt"
    )
    assert re.search(rf"going on from the checkpoint after step {kept}$", printed, re.MULTILINE)
    import torch

    whole, resumed = (torch.load(tmp_path / f"{name}.pt", weights_only=True) for name in ("whole", "resumed"))
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    assert not list((tmp_path / "kept").glob("*.ckpt"))


@pytest.mark.shows("B5", "A12", env="laptop")
def test_two_workers_train_cifars_network_to_the_loss_of_one(tmp_path: Path) -> None:
    write_cifar10(tmp_path, rows=48)
    flags = ("--epochs", 1, "--batch-size", 48, "--threads", 1, "--data-dir", tmp_path)
    losses = []
    for workers in (1, 2):
        printed = script("train_cifar10.py", *flags, "--workers", workers)
        assert "CIFAR-10 from" in printed
        assert (f"device: cpu × {workers} workers" in printed) == (workers == 2)
        losses.append(loss_of(printed))
    # the gradient of a step is that of the whole batch, however many share it
    assert losses[0] == pytest.approx(losses[1], abs=2e-4)


@pytest.mark.shows("B5", "B10", env="laptop")
def test_two_workers_killed_in_mid_epoch_tell_the_loss_of_two_that_were_not(tmp_path: Path) -> None:
    write_cifar10(tmp_path, rows=320)
    flags = (
        "--epochs",
        1,
        "--batch-size",
        32,
        "--threads",
        1,
        "--data-dir",
        tmp_path,
        "--workers",
        2,
        "--checkpoint-steps",
        2,
    )
    whole = script("train_cifar10.py", *flags)
    kept = killed_after_a_checkpoint("train_cifar10.py", tmp_path / "kept", *flags)
    resumed = script("train_cifar10.py", *flags, "--checkpoint-dir", tmp_path / "kept")
    assert re.search(rf"going on from the checkpoint after step {kept}$", resumed, re.MULTILINE)
    assert loss_of(resumed) == loss_of(whole)


@pytest.mark.shows("B45", "B46", env="laptop")
def test_a_language_model_lowers_its_perplexity_and_says_what_it_is() -> None:
    printed = script("train_llm.py", "--block", 64, "--epochs", 1)
    assert "random parameters" in printed
    assert "not WikiText-2" in printed
    size = re.search(r"([0-9.]+)M random", printed)
    assert size
    assert float(size[1]) <= 2.0
    before = re.search(r"perplexity before: ([0-9.]+)", printed)
    assert before
    assert figure(printed, "perplexity") < 0.5 * float(before[1])


@pytest.mark.shows("B45", env="laptop")
def test_a_local_model_and_local_text_are_used(tmp_path: Path) -> None:
    import transformers

    model = transformers.GPT2LMHeadModel(
        transformers.GPT2Config(vocab_size=40, n_positions=32, n_embd=16, n_layer=1, n_head=2)
    )
    model.save_pretrained(tmp_path / "model")
    tokenizers = importlib.import_module("tokenizers")

    letters = {letter: at for at, letter in enumerate("abcdefghijklmnopqrstuvwxyz .,\n")}
    plain = tokenizers.Tokenizer(tokenizers.models.WordLevel(letters | {"[UNK]": 39}, unk_token="[UNK]"))
    plain.pre_tokenizer = tokenizers.pre_tokenizers.Split("", "isolated")
    transformers.PreTrainedTokenizerFast(tokenizer_object=plain, unk_token="[UNK]").save_pretrained(tmp_path / "model")
    (tmp_path / "text").mkdir()
    for part, times in (("train", 300), ("test", 40)):
        (tmp_path / "text" / f"wiki.{part}.tokens").write_text("the cat sat on the mat. " * times)
    printed = script(
        "train_llm.py", "--model", tmp_path / "model", "--data-dir", tmp_path / "text", "--block", 16, "--lr", 0.01
    )
    assert "WikiText-2 from" in printed
    assert str(tmp_path / "model") in printed
    assert figure(printed, "perplexity") < 39


@pytest.mark.parametrize(
    ("name", "arguments", "words"),
    [
        ("train_mnist.py", ("--epochs", 0), "--epochs"),
        ("train_mnist.py", ("--lr", "fast"), "--lr"),
        ("train_mnist.py", ("--data-dir", "/nowhere"), "--data-dir"),
        ("train_mnist.py", ("--device", "cuda"), "no CUDA"),
        ("train_mnist.py", ("--colour", 1), "--colour"),
        ("train_llm.py", ("--model", "/nowhere/model"), "/nowhere/model"),
    ],
)
def test_a_wrong_flag_ends_with_2_and_is_named(name: str, arguments: tuple[object, ...], words: str) -> None:
    said = script(name, *arguments, status=2)
    assert words in said
    assert "Traceback" not in said


def test_a_damaged_file_ends_with_2(tmp_path: Path) -> None:
    write_mnist(tmp_path, train=20, test=5)
    path = tmp_path / "train-images-idx3-ubyte.gz"
    path.write_bytes(path.read_bytes()[:-20])
    assert "train-images-idx3-ubyte.gz" in script("train_mnist.py", "--data-dir", tmp_path, status=2)
    write_cifar10(tmp_path, rows=5)
    (tmp_path / "data_batch_3").write_bytes(np.arange(10).tobytes())
    assert "data_batch_3" in script("train_cifar10.py", "--data-dir", tmp_path, status=2)
