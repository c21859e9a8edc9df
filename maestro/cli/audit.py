"""`maestro audit`: verify and list the audit log where it lies, without any service."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from maestro.cli.console import JsonFlag, emit, out, progress, table
from maestro.core.model import format_time

if TYPE_CHECKING:
    from maestro.security.audit import AuditLog, AuditReport

app = typer.Typer(
    no_args_is_help=True, add_completion=False, rich_markup_mode=None, help="Verify and list the audit log."
)


@app.command()
def verify(as_json: JsonFlag = False) -> None:
    """Check every entry and every signed head; exit 1 and say where when somebody tampered."""
    from maestro.clients.home import Home
    from maestro.core.settings import settings
    from maestro.security.trust import load_trust

    trust = load_trust(settings().trust_policy or Home.of().trust_policy)
    with _log() as log, progress("verifying"):
        report = log.verify(trust)
    emit({"ok": report.ok, **report.document()}, as_json=as_json, human=lambda: _show(report))
    if not report.ok:
        raise typer.Exit(1)


@app.command("list")
def list_entries(
    after: Annotated[int, typer.Option(min=0, help="Only entries after this one.")] = 0,
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="At most so many.")] = 100,
    actor: Annotated[str | None, typer.Option(help="Only of this actor, such as human:ada.")] = None,
    action: Annotated[str | None, typer.Option(help="Only actions that begin so, such as approval.")] = None,
    subject: Annotated[str | None, typer.Option(help="Only subjects that begin so, such as version/churn@.")] = None,
    as_json: JsonFlag = False,
) -> None:
    """List entries in order."""
    with _log() as log:
        entries = log.entries(after=after, limit=limit, actor=actor, action=action, subject=subject)

    def show() -> None:
        table(
            "",
            ("seq", "at", "actor", "action", "subject", "outcome"),
            [(e.seq, format_time(e.at), e.actor, e.action, e.subject, e.outcome) for e in entries],
        )

    emit([entry.document() for entry in entries], as_json=as_json, human=show)


@contextmanager
def _log() -> Iterator[AuditLog]:
    from maestro.clients.database import open_database
    from maestro.clients.database.migrate import require_current
    from maestro.clients.home import Home, database_url
    from maestro.core.clock import SystemClock
    from maestro.security.audit import AuditLog

    database = open_database(database_url())
    try:
        require_current(database)
        yield AuditLog(database, SystemClock(), None, Home.of().audit_heads)
    finally:
        database.dispose()


def _show(report: AuditReport) -> None:
    verdict = "[bold green]sound[/]" if report.ok else "[bold red]tampered with[/]"
    out.print(
        f"{verdict}: {report.entries} entries, {report.heads} signed heads, the last at entry {report.anchored}, "
        f"{report.unanchored} entries after it",
        highlight=False,
    )
    if report.head is not None:
        out.print(f"head of entry {report.head_seq}: {report.head}", highlight=False, soft_wrap=True)
    if report.unpublished:
        out.print(f"{report.unpublished} heads are not yet in the file outside the database", highlight=False)
    if report.problems:
        table("Problems", ("entry", "kind", "what"), [(p.seq, p.kind, p.detail) for p in report.problems])
