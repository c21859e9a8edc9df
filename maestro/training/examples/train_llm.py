"""`train_llm.py`: fine-tune a Hugging Face causal language model; DistilGPT2 on WikiText-2 unless told otherwise."""

from __future__ import annotations

import argparse
import math
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from maestro.core.canonical import digest
from maestro.core.errors import BadInput, MaestroError
from maestro.training.checkpoint import Checkpoints
from maestro.training.distribution import Group
from maestro.training.examples import options
from maestro.training.examples.record import Record
from maestro.training.examples.text import blocks, read_text

MODULE = "maestro.training.examples.train_llm"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the script; returns its exit status."""
    parse = options.parser("train_llm.py", "Fine-tune a causal language model.", epochs=1, batch=8, lr=0.0005)
    parse.add_argument(
        "--model", default="distilgpt2", help="a Hugging Face name, or the folder of a model (default distilgpt2)"
    )
    parse.add_argument(
        "--download",
        action="store_true",
        help="fetch the model and WikiText-2 where they are not here; without it nothing is fetched",
    )
    parse.add_argument("--block", type=options.whole(8, 4096), default=128, help="tokens of a row (default 128)")
    parse.add_argument("--output", type=Path, default=None, help="write the tuned model into this folder")
    return options.run(sys.argv[1:] if arguments is None else arguments, parse, _train, MODULE)


def _train(given: argparse.Namespace, group: Group) -> None:
    if not given.download:
        os.environ["HF_HUB_OFFLINE"] = "1"
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    try:
        import torch
        import transformers
    except ImportError as error:
        raise options.needs("torch and transformers", "transformers", error) from None
    from maestro.training.models.torch_fit import Fitting, choose_device, fit_module, join, leave

    transformers.logging.set_verbosity_error()
    torch.set_num_threads(given.threads)
    device = choose_device(given.device)
    text = read_text(given.data_dir)
    model, encode, about = _model(given, torch, transformers)
    train, test = blocks(encode(text.train), given.block), blocks(encode(text.test), given.block)
    if not len(train) or not len(test):
        raise BadInput(
            f"the text is shorter than one block of {given.block} tokens", field="--block", remedy="lower it"
        )
    data = {"name": text.name, "version": text.version, "source": text.source, "rows": len(train)}
    record = Record("llm", group, data=data, cores=given.threads if device == "cpu" else 1, gpus=int(device == "cuda"))
    record.say(f"device: {device}" + (f" × {group.world} workers" if group.world > 1 else ""))
    record.say(f"model: {about}")
    record.say(f"data: {text.about}")
    flags = {
        key: getattr(given, key) for key in ("model", "epochs", "batch_size", "lr", "seed", "block", "checkpoint_steps")
    }
    record.params(flags | {"parameters": sum(weight.numel() for weight in model.parameters()), "workers": group.world})
    checkpoints = None
    if given.checkpoint_dir is not None:
        identity = digest(
            {"script": MODULE, "data": text.version, "flags": flags, "about": about, "workers": group.world}
        )
        checkpoints = Checkpoints(given.checkpoint_dir, identity, writes=group.leads)
        saved = checkpoints.latest()
        if saved is not None:
            record.say(f"going on from the checkpoint after step {saved.step}")
    metrics: dict[str, float] = {}

    def told(epoch: int, loss: float, seconds: float) -> None:
        began = time.perf_counter()
        model.eval()
        metrics.update(_measure(model, test, device))
        model.train()
        metrics["loss"] = loss
        shown = {"loss": loss, "perplexity": metrics["perplexity"]}
        record.epoch(epoch, given.epochs, shown, seconds + time.perf_counter() - began)

    before = _measure(model.to(device).eval(), test, device) if group.leads else {}
    record.say(f"perplexity before: {before.get('perplexity', math.nan):.2f}")
    model.to("cpu")
    join(group, device)
    how = Fitting(given.epochs, given.batch_size, given.lr, given.seed, device, given.checkpoint_steps)
    fit_module(model, train, train, _loss, how, group, checkpoints=checkpoints, told=told if group.leads else None)
    leave(group)
    if group.leads:
        if not metrics:
            metrics |= _measure(model, test, "cpu")
        metrics["perplexity_before"] = before["perplexity"]
        if given.output is not None:
            model.save_pretrained(given.output)
        record.end(
            metrics, given.output / "model.safetensors" if given.output is not None else None, shown="perplexity"
        )


def _model(given: argparse.Namespace, torch: Any, transformers: Any) -> tuple[Any, Any, str]:
    """The model, a function from text to tokens, and what it is in words."""
    folder = Path(given.model)
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(given.model)
        model = transformers.AutoModelForCausalLM.from_pretrained(given.model)
        size = sum(weight.numel() for weight in model.parameters())
        return model, lambda text: tokenizer(text)["input_ids"], f"{given.model} ({size / 1e6:.1f}M parameters)"
    except MaestroError:
        raise
    except Exception as error:
        if folder.is_dir() or given.download or given.model != "distilgpt2":
            why = str(error).splitlines()[0][:300] if str(error) else type(error).__name__
            raise BadInput(
                f"model {given.model!r} cannot be loaded: {why}",
                field="--model",
                remedy="name the folder of a model, or allow --download",
            ) from error
    torch.manual_seed(given.seed)
    config = transformers.GPT2Config(
        vocab_size=256,
        n_positions=max(given.block, 128),
        n_embd=128,
        n_layer=4,
        n_head=4,
        bos_token_id=0,
        eos_token_id=0,
    )
    model = transformers.GPT2LMHeadModel(config)
    size = sum(weight.numel() for weight in model.parameters())
    return (
        model, lambda text: list(text.encode()),
        f"distilgpt2 is not here and --download was not given: a GPT-2 of {size / 1e6:.2f}M random parameters over bytes",
    )  # fmt: skip


def _loss(module: Any, inputs: Any, targets: Any) -> Any:
    return module(input_ids=inputs, labels=targets).loss


def _measure(model: Any, rows: np.ndarray, device: str) -> dict[str, float]:
    """The mean loss on rows that were not trained on, and its perplexity e^loss."""
    import torch

    total = 0.0
    with torch.no_grad():
        for at in range(0, len(rows), 16):
            part = torch.from_numpy(rows[at : at + 16]).to(device)
            total += float(model(input_ids=part, labels=part).loss) * len(part)
    mean = total / len(rows)
    return {"test_loss": mean, "perplexity": math.exp(min(mean, 700.0))}


if __name__ == "__main__":
    sys.exit(main())
