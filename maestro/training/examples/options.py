"""The flags that the scripts share, read strictly: a wrong one ends with exit status 2 and names itself."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from maestro.core.errors import BadInput, MaestroError
from maestro.training.distribution import Group
from maestro.training.distribution.launch import Launch


def whole(low: int, high: int) -> Callable[[str], int]:
    """A whole number in a range, for argparse."""

    def read(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is no whole number") from None
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f"{value} is not between {low} and {high}")
        return value

    return read


def positive(text: str) -> float:
    """A number above zero, for argparse."""
    try:
        value = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no number") from None
    if not 0 < value < 1e9:
        raise argparse.ArgumentTypeError(f"{text} is not above 0")
    return value


def parser(name: str, about: str, *, epochs: int, batch: int, lr: float) -> argparse.ArgumentParser:
    """The parser of a script with the flags that all have."""
    made = argparse.ArgumentParser(prog=name, description=about, allow_abbrev=False)
    made.add_argument(
        "--epochs", type=whole(1, 10_000), default=epochs, help=f"passes over the data (default {epochs})"
    )
    made.add_argument(
        "--batch-size",
        type=whole(1, 65_536),
        default=batch,
        help=f"rows a step, of all workers together (default {batch})",
    )
    made.add_argument("--lr", type=positive, default=lr, help=f"learning rate (default {lr})")
    made.add_argument("--seed", type=whole(0, 2**31 - 1), default=0, help="of weights and order (default 0)")
    made.add_argument(
        "--data-dir",
        type=Path,
        default=None,
        help="folder of the real data; without it a small set that a package brings",
    )
    made.add_argument(
        "--workers", type=whole(1, 64), default=1, help="processes that train together on this machine (default 1)"
    )
    made.add_argument(
        "--threads", type=whole(1, 1024), default=None, help="threads of each worker (default: all cores, shared)"
    )
    made.add_argument(
        "--device", choices=("auto", "cpu", "cuda"), default="auto", help="where to compute (default auto)"
    )
    made.add_argument(
        "--checkpoint-dir",
        type=Path,
        default=None,
        help="keep checkpoints there, and go on from the newest (default: $MAESTRO_CHECKPOINTS)",
    )
    made.add_argument(
        "--checkpoint-steps", type=whole(1, 10_000_000), default=100, help="steps between two checkpoints (default 100)"
    )
    made.add_argument(
        "--max-restarts", type=whole(0, 100), default=3, help="times that a failed group is started again (default 3)"
    )
    return made


def run(
    arguments: Sequence[str],
    parse: argparse.ArgumentParser,
    train: Callable[[argparse.Namespace, Group], None],
    module: str,
) -> int:
    """Parse, start the other workers where asked to, train; returns the exit status and never shows a traceback for a user's mistake."""
    given = parse.parse_args(arguments)
    if given.data_dir is not None and not given.data_dir.is_dir():
        parse.error(f"--data-dir: {given.data_dir} is no folder")
    if given.checkpoint_dir is None and os.environ.get("MAESTRO_CHECKPOINTS"):
        given.checkpoint_dir = Path(os.environ["MAESTRO_CHECKPOINTS"])
    if given.threads is None:
        given.threads = max(1, len(os.sched_getaffinity(0)) // given.workers)
    try:
        group = Group.of()
        if given.workers > 1 and "WORLD_SIZE" not in os.environ:
            command = (sys.executable, "-m", module, *arguments)
            return Launch(command, given.workers, given.max_restarts, given.threads).run()
        train(given, group)
    except MaestroError as error:
        if group_leads():
            named = f"{error.field}: " if error.field and error.field.startswith("--") else ""
            remedy = f" → {error.remedy}" if error.remedy else ""
            sys.stderr.write(f"{error.title}: {named}{error.detail}{remedy}\n")
        return error.exit_code
    return 0


def group_leads() -> bool:
    """Whether this process speaks for its group."""
    return os.environ.get("RANK", "0") == "0"


def needs(package: str, module: str, error: ImportError) -> BadInput:
    """The error for a framework that is not installed."""
    return BadInput(
        f"{package} is not installed here: {error}",
        field=module,
        remedy=f"pip install {package}, or use the image that has it",
    )
