"""Signed heads: the decider's word on the chain's digest at an entry, kept in the database and in a file outside it.

The file has one envelope a line, in the order of entries. It only grows: every write is an append that is durable when it returns. Keep it, or a
copy of it, where whoever can write the database cannot.
"""

from __future__ import annotations

import base64
import fcntl
import json
import os
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path

from pydantic import ValidationError

from maestro.core.canonical import canonical_bytes
from maestro.core.errors import Malformed
from maestro.core.model import Digest, Model, Time
from maestro.core.statement import AUDIT_HEAD, Envelope, Statement, StatementSubject

MAX_LINE = 64 * 1024


class AuditHead(Model):
    """The chain's digest after entry `seq`."""

    seq: int
    entry_digest: Digest
    issued: Time


def head_statement(seq: int, entry_digest: str, at: datetime) -> Statement:
    """What the decider signs."""
    head = AuditHead(seq=seq, entry_digest=entry_digest, issued=at)
    return Statement(
        subject=(_subject(head),),
        predicate_type=AUDIT_HEAD,
        predicate={"seq": seq, "issued": head.document()["issued"]},
    )


def read_head(statement: Statement) -> AuditHead:
    """The head that a verified statement speaks of.

    Raises:
        Malformed: it is no audit head.
    """
    try:
        head = AuditHead(
            seq=statement.predicate["seq"],
            entry_digest="sha256:" + statement.subject[0].digest["sha256"],
            issued=statement.predicate["issued"],
        )
    except (KeyError, ValidationError):
        raise Malformed("a signed statement is no audit head") from None
    if statement.predicate_type != AUDIT_HEAD or statement.subject != (_subject(head),):
        raise Malformed("a signed statement is no audit head")
    return head


def _subject(head: AuditHead) -> StatementSubject:
    return StatementSubject(name=f"audit-log@{head.seq}", digest={"sha256": head.entry_digest.removeprefix("sha256:")})


def read_lines(path: Path) -> list[Envelope | None]:
    """The envelopes of the file, None for a line that is none; empty without file.

    A last line without its end was never completed and is left out.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return []
    complete = content[: content.rfind(b"\n") + 1]
    return [_envelope(line) for line in complete.splitlines()]


def append_missing(path: Path, wanted: Callable[[int], Sequence[tuple[int, Envelope]]]) -> int:
    """Append, durably and in order, the heads that the file lacks; serialised between processes.

    Args:
        path: the file; made with mode 0600 when there is none.
        wanted: the heads after a given entry, in order.

    Returns:
        How many were appended.

    Raises:
        OSError: the file cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        size = os.fstat(descriptor).st_size
        last_line, end = _last_line(descriptor, size)
        if end != size:
            os.ftruncate(descriptor, end)
        heads = wanted(_seq(last_line))
        block = b"".join(canonical_bytes(envelope.document()) + b"\n" for _, envelope in heads)
        while block:
            block = block[os.write(descriptor, block) :]
        if heads:
            os.fsync(descriptor)
        return len(heads)
    finally:
        os.close(descriptor)


def _last_line(descriptor: int, size: int) -> tuple[bytes, int]:
    """The last complete line, and where the complete lines end."""
    start = max(0, size - 2 * MAX_LINE)
    tail = os.pread(descriptor, size - start, start)
    end = tail.rfind(b"\n") + 1
    if end == 0:
        return b"", start
    line = tail[:end].rstrip(b"\n").rpartition(b"\n")[2]
    return line, start + end


def _seq(line: bytes) -> int:
    envelope = _envelope(line)
    if envelope is None:
        return 0
    try:
        return int(json.loads(base64.b64decode(envelope.payload))["predicate"]["seq"])
    except (ValueError, KeyError, TypeError):
        return 0


def _envelope(line: bytes) -> Envelope | None:
    try:
        return Envelope.model_validate(json.loads(line))
    except (ValidationError, ValueError, RecursionError):
        return None
