"""Verification of the chain against its own digests and against the signed heads: finds what was done, and where."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from maestro.core.canonical import digest
from maestro.core.errors import Malformed, Untrusted
from maestro.core.model import format_time
from maestro.core.statement import Envelope, TrustPolicy
from maestro.security.audit.entry import GENESIS
from maestro.security.audit.heads import AuditHead, read_head
from maestro.security.audit.report import AuditProblem, AuditReport, ProblemKind
from maestro.security.signing import verify, verify_whoever_was_trusted

Found = Callable[[ProblemKind, int | None, str], None]

MAX_PROBLEMS = 100
"""After so many the report says no more of the chain."""


@dataclass(frozen=True)
class StoredEntry:
    """A row as the database holds it; `content` is None when it cannot be read."""

    seq: int
    content: dict[str, Any] | None
    prev: str
    entry_digest: str


@dataclass(frozen=True)
class StoredHead:
    """A head as the database holds it."""

    seq: int
    entry_digest: str
    envelope: Envelope | None


def entry_digest(content: dict[str, Any]) -> str:
    """The digest of an entry's document; an empty text, which no digest equals, for what is not canonical JSON."""
    try:
        return digest(content)
    except (ValueError, TypeError, RecursionError):
        return ""


def verify_chain(
    entries: Iterable[StoredEntry],
    stored: Sequence[StoredHead],
    published: Sequence[Envelope | None],
    trust: TrustPolicy,
    at: datetime,
) -> AuditReport:
    """Check every entry and every head.

    Args:
        entries: the rows by `seq`.
        stored: the heads of the database by `seq`; read before `entries`, so that none is ahead of them.
        published: the lines of the file outside it; read before `stored`.
        trust: whose heads count.
        at: now.
    """
    problems: list[AuditProblem] = []

    def found(kind: ProblemKind, seq: int | None, detail: str) -> None:
        if len(problems) < MAX_PROBLEMS:
            problems.append(AuditProblem(kind=kind, seq=seq, detail=detail))

    in_table: dict[int, tuple[AuditHead, bool]] = {}
    for row in stored:
        read = _read(row.envelope, f"head {row.seq} of the database", trust, at, found)
        if read is None:
            continue
        if (read[0].seq, read[0].entry_digest) != (row.seq, row.entry_digest):
            found("head", row.seq, f"head {row.seq} of the database is not the head that was signed")
        in_table[read[0].seq] = read
    in_file: dict[int, tuple[AuditHead, bool]] = {}
    for number, envelope in enumerate(published, start=1):
        read = _read(envelope, f"line {number} of the heads' file", trust, at, found)
        if read is not None:
            in_file[read[0].seq] = read

    heads = in_table | in_file
    digests: dict[int, str] = {}
    count, last = 0, 0
    expected_prev = GENESIS
    for entry in entries:
        count += 1
        if entry.seq != last + 1:
            found("deleted", last + 1, f"entries {last + 1} to {entry.seq - 1} are missing")
        elif entry.prev != expected_prev:
            found("reordered", entry.seq, f"entry {entry.seq} does not follow entry {last} as it stands")
        if entry.content is None or entry_digest(entry.content) != entry.entry_digest:
            found("edited", entry.seq, f"entry {entry.seq} is not what its digest says")
        last, expected_prev = entry.seq, entry.entry_digest
        if entry.seq in heads:
            digests[entry.seq] = entry.entry_digest

    agreed = [read for read in heads.values() if _agrees(read[0], digests.get(read[0].seq), last, found)]
    _compare(in_table, in_file, found)
    trusted = [head for head, counts in agreed if counts]
    anchor = max(trusted, key=lambda head: head.seq, default=None)
    if anchor is None and count:
        found("unanchored", None, "no head by a trusted decider key vouches for the chain: it could have been rebuilt")
    newest = max((head for head, _ in agreed), key=lambda head: head.seq, default=None)
    return AuditReport(
        at=at,
        entries=count,
        heads=len(trusted),
        revoked_heads=len(agreed) - len(trusted),
        anchored=anchor.seq if anchor else 0,
        unanchored=max(0, last - (anchor.seq if anchor else 0)),
        unpublished=sum(seq > max(in_file, default=0) for seq in in_table),
        head_seq=newest.seq if newest else 0,
        head=newest.entry_digest if newest else None,
        problems=tuple(problems),
    )


def _read(
    envelope: Envelope | None, what: str, trust: TrustPolicy, at: datetime, found: Found
) -> tuple[AuditHead, bool] | None:
    """The head in an envelope, and whether its key still counts."""
    if envelope is None:
        found("head", None, f"{what} is not a signed head")
        return None
    try:
        try:
            return read_head(verify(envelope, trust, "decider", at)), True
        except Untrusted:
            return read_head(verify_whoever_was_trusted(envelope, trust, "decider")), False
    except (Untrusted, Malformed) as error:
        found("head", None, f"{what}: {error.detail}")
        return None


def _agrees(head: AuditHead, actual: str | None, last: int, found: Found) -> bool:
    signed = f"the head signed at {format_time(head.issued)}"
    if head.seq > last:
        found("truncated", last + 1, f"{signed} vouches for entry {head.seq}, the chain ends at {last}")
        return False
    if actual != head.entry_digest:
        found("rebuilt", head.seq, f"{signed} vouches for another entry {head.seq} than the chain holds")
        return False
    return True


def _compare(
    in_table: dict[int, tuple[AuditHead, bool]], in_file: dict[int, tuple[AuditHead, bool]], found: Found
) -> None:
    if in_table and not in_file:
        found("head", None, "the file outside the database holds no head: it was removed, or never written")
        return
    for seq in sorted(in_file.keys() - in_table.keys()):
        found("head", seq, f"the head of entry {seq} is in the file and was removed from the database")
    for seq in sorted(seq for seq in in_table.keys() - in_file.keys() if seq < max(in_file)):
        found("head", seq, f"the head of entry {seq} is in the database and was removed from the file")
    for seq in sorted(in_table.keys() & in_file.keys()):
        if in_table[seq][0].entry_digest != in_file[seq][0].entry_digest:
            found("head", seq, f"the database and the file hold different heads of entry {seq}")
