"""What the scripts hold in memory at the sizes that were promised: MNIST's own numbers of pictures, a model of DistilGPT2's shape."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.frameworks.scripts import figure, footprint
from tests.training.examples.files import write_mnist

pytestmark = [pytest.mark.frameworks, pytest.mark.timeout(900)]


@pytest.mark.shows("A12", "B44", "B48", env="laptop")
def test_mnist_of_its_real_size_stays_below_two_gigabytes(tmp_path: Path, record_property: Any) -> None:
    write_mnist(tmp_path, train=60_000, test=10_000, zipped=False)
    printed, megabytes = footprint("train_mnist.py", "--epochs", 1, "--batch-size", 256, "--data-dir", tmp_path)
    assert "60000 pictures to train on, 10000 to test" in printed
    _tell(record_property, {"script": "train_mnist.py", "megabytes": megabytes, "seconds": figure(printed, "duration")})
    assert megabytes < 2000
    # two epochs in minutes
    assert figure(printed, "duration") < 450


@pytest.mark.shows("B45", "B48", env="laptop")
def test_a_model_of_distilgpt2s_shape_stays_below_four_gigabytes(tmp_path: Path, record_property: Any) -> None:
    write_distilgpt2(tmp_path / "model")
    (tmp_path / "text").mkdir()
    for part, words in (("train", 2400), ("test", 300)):
        (tmp_path / "text" / f"wiki.{part}.tokens").write_text("the cat sat on the mat . " * (words // 7 + 1))
    printed, megabytes = footprint("train_llm.py", "--model", tmp_path / "model", "--data-dir", tmp_path / "text")
    assert "81.9M parameters" in printed
    _tell(record_property, {"script": "train_llm.py", "megabytes": megabytes, "seconds": figure(printed, "duration")})
    assert megabytes < 4000


def write_distilgpt2(folder: Path) -> None:
    """A model of that shape (6 layers of 768, 12 heads, 50,257 tokens) with random parameters, and a tokeniser of single words."""
    transformers = importlib.import_module("transformers")
    tokenizers = importlib.import_module("tokenizers")
    config = transformers.GPT2Config(n_layer=6, n_embd=768, n_head=12, vocab_size=50_257, n_positions=1024)
    transformers.GPT2LMHeadModel(config).save_pretrained(folder)
    words = {word: at for at, word in enumerate(("[UNK]", "the", "cat", "sat", "on", "mat", "."))}
    plain = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="[UNK]"))
    plain.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    transformers.PreTrainedTokenizerFast(tokenizer_object=plain, unk_token="[UNK]").save_pretrained(folder)


def _tell(record_property: Any, facts: dict[str, Any]) -> None:
    record_property("footprint", json.dumps(facts))
    sys.stdout.write(json.dumps(facts) + "\n")
