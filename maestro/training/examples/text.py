"""The text that a language model is trained on: a local file or folder, else this package's own prose, and how it becomes blocks of tokens."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np

from maestro.core.errors import Malformed, NotFound

_MOST_BYTES = 1 << 28
_OWN_CHARACTERS = 60_000


@dataclass(frozen=True)
class Text:
    """The text of both parts and what it is."""

    name: str
    about: str
    source: str
    train: str
    test: str

    @property
    def version(self) -> str:
        """The first twelve hex digits of the digest of both parts."""
        return sha256((self.train + "\0" + self.test).encode()).hexdigest()[:12]


def read_text(folder: Path | None) -> Text:
    """WikiText-2's own files (`wiki.train.tokens`, `wiki.test.tokens`) or any `*.txt` of `folder`; without one, the docstrings of this package.

    Raises:
        NotFound: the folder holds no text.
        Malformed: a file is no UTF-8, or there is too little.
    """
    if folder is None:
        return _own_words()
    for train, test in (("wiki.train.tokens", "wiki.test.tokens"), ("wiki.train.raw", "wiki.test.raw")):
        if (folder / train).is_file() and (folder / test).is_file():
            first, second = _read(folder / train), _read(folder / test)
            return Text(
                "wikitext-2",
                f"WikiText-2 from {folder}: {len(first)} characters to train on",
                str(folder),
                first,
                second,
            )
    files = sorted(folder.glob("*.txt"))
    if not files:
        raise NotFound(
            f"{folder} holds no text",
            field="--data-dir",
            remedy="put wiki.train.tokens and wiki.test.tokens, or *.txt files, there",
        )
    whole = "\n".join(_read(path) for path in files)
    if len(whole) < 2000:
        raise Malformed(f"{folder} holds only {len(whole)} characters", field="--data-dir", remedy="give more text")
    cut = int(len(whole) * 0.9)
    return Text(
        folder.name or "text",
        f"{len(files)} files of {folder}: {len(whole)} characters",
        str(folder),
        whole[:cut],
        whole[cut:],
    )


def _own_words() -> Text:
    import maestro

    root = Path(maestro.__file__).parent
    parts = []
    for path in sorted(root.rglob("*.py")):
        pieces = path.read_text().split('"""')
        parts += [piece.strip() for piece in pieces[1::2]]
    whole = "\n".join(part for part in parts if len(part) > 40)[:_OWN_CHARACTERS]
    cut = int(len(whole) * 0.9)
    return Text(
        "maestro_docstrings", f"no --data-dir: not WikiText-2 but docstrings of this package ({len(whole)} characters)",
        "maestro", whole[:cut], whole[cut:],
    )  # fmt: skip


def _read(path: Path) -> str:
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise Malformed(f"{path} is larger than 256 MiB", field="--data-dir", remedy="give a part of it")
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise Malformed(
            f"{path} cannot be read as text: {error}", field="--data-dir", remedy="save it as UTF-8"
        ) from error


def blocks(tokens: list[int], length: int) -> np.ndarray:
    """Tokens as rows of `length` (int64); what is left over at the end is dropped.

    >>> blocks([1, 2, 3, 4, 5], 2).tolist()
    [[1, 2], [3, 4]]
    """
    rows = len(tokens) // length
    return np.asarray(tokens[: rows * length], dtype=np.int64).reshape(rows, length)
