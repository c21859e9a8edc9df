"""What a verification of the audit chain found."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from maestro.core.model import Digest, Model, Time

ProblemKind = Literal["edited", "deleted", "reordered", "truncated", "rebuilt", "head", "unanchored"]


class AuditProblem(Model):
    """One trace of tampering. `seq` is the entry where it shows.

    - `edited`: an entry's content is not what its digest says.
    - `deleted`: entries are missing in the middle or at the start.
    - `reordered`: an entry does not follow the one before it.
    - `truncated`: a head was signed beyond the last entry.
    - `rebuilt`: the chain is whole, and another than the one whose head was signed.
    - `head`: a head is missing, forged, or differs between the database and the file outside it.
    - `unanchored`: no trusted head vouches for the chain.
    """

    kind: ProblemKind
    seq: int | None = None
    detail: str


class AuditReport(Model):
    """The verdict: the chain is sound when there is no problem.

    `anchored` is the last entry that a trusted head vouches for; the `unanchored` entries after it are chained but not yet signed.
    `unpublished` heads are in the database and not yet in the file outside it. Compare `head_seq` and `head` with what was noted elsewhere:
    when the database and the file are both cut at the same head, only that shows it.
    """

    at: Time
    entries: int = 0
    heads: int = Field(default=0, description="trusted heads that agree with the chain")
    revoked_heads: int = Field(default=0, description="heads that agree but were signed by a key that no longer counts")
    anchored: int = 0
    unanchored: int = 0
    unpublished: int = 0
    head_seq: int = 0
    head: Digest | None = None
    problems: tuple[AuditProblem, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether nothing was found."""
        return not self.problems
