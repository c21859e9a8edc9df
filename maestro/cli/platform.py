"""`maestro platform`: its database, and the platform on a cluster."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from maestro.cli.console import JsonFlag, emit, out, progress, table
from maestro.core.errors import NegativeVerdict

if TYPE_CHECKING:
    from maestro.clients.kubernetes import Cluster
    from maestro.operations.platform.applying import Change

app = typer.Typer(
    no_args_is_help=True, add_completion=False, rich_markup_mode=None,
    help="The platform's database, and the platform on a cluster.",
)  # fmt: skip

Profile = Annotated[
    str, typer.Option("--profile", "-p", help="minikube, production, or the folder of an overlay of yours.")
]
Root = Annotated[Path | None, typer.Option(help="The checkout; by default the one around the working directory.")]
Context = Annotated[str | None, typer.Option(help="The kubeconfig's context; by default its current one.")]
TakeOver = Annotated[bool, typer.Option("--take-over", help="Take fields that another manager owns.")]


class Process(StrEnum):
    """A process whose readiness has no port."""

    WORKER = "worker"


@app.callback()
def _root() -> None: ...


@app.command()
def migrate(as_json: JsonFlag = False) -> None:
    """Bring the platform database to the schema of this version. Services never do it themselves."""
    from maestro.clients.database import current_revision, open_database
    from maestro.clients.database import migrate as run
    from maestro.clients.home import database_url

    database = open_database(database_url())
    before = current_revision(database)
    run(database)
    after = current_revision(database)
    emit(
        {"database": database.url, "from": before, "to": after},
        as_json=as_json,
        human=lambda: out.print(f"{database.url}: {before or 'empty'} → {after}", highlight=False),
    )


@app.command()
def ready(process: Annotated[Process, typer.Argument(help="Which process.")], as_json: JsonFlag = False) -> None:
    """Whether a process that listens on no port could work here: its database answers and stands at this version's schema."""
    from maestro.clients.database import open_database
    from maestro.clients.database.migrate import require_current
    from maestro.clients.home import database_url

    database = open_database(database_url())
    require_current(database)
    emit(
        {"process": process.value, "ready": True, "database": database.url},
        as_json=as_json,
        human=lambda: out.print(f"{process.value}: ready", highlight=False),
    )


@app.command()
def principals(
    verifiers: Annotated[
        Path,
        typer.Argument(
            help="What recognises their keys, such as the mounted ConfigMap `maestro-principals`; no secret."
        ),
    ],
    as_json: JsonFlag = False,
) -> None:
    """Let in the first principals, by the public halves of keys that `secrets` made. Running it again changes nothing; a revoked key stays revoked."""
    from maestro.lifecycle.composition import Platform
    from maestro.security.verifiers import read_verifiers

    found = read_verifiers(verifiers)
    platform = Platform()
    try:
        platform.require_database()
        adopted = platform.principals.adopt(found)
        platform.principals.export_verifiers(platform.home.server_keys)
    finally:
        platform.close()
    names = {key.key_id: key.principal.actor for key in found}
    emit(
        {"known": len(found), "adopted": [{"key_id": one, "principal": names[one]} for one in adopted]},
        as_json=as_json,
        human=lambda: out.print(
            f"{len(adopted)} of {len(found)} keys are new: {', '.join(names[one] for one in adopted) or 'none'}",
            highlight=False,
        ),
    )


@app.command()
def plan(
    profile: Profile = "minikube", root: Root = None, context: Context = None, take_over: TakeOver = False,
    as_json: JsonFlag = False,
) -> None:  # fmt: skip
    """What an apply would change, as the API server sees it. Nothing is changed."""
    from maestro.operations.platform import applying
    from maestro.operations.platform.layout import Layout
    from maestro.operations.platform.rendering import render

    bodies = render(Layout.find(root), profile, require_digests=False)
    with progress(f"planning {len(bodies)} objects"):
        changes = applying.plan(_cluster(context), bodies, take_over=take_over)
    _show_changes(changes, profile, as_json, "plan")


@app.command()
def apply(
    profile: Profile = "minikube", root: Root = None, context: Context = None,
    wait: Annotated[float, typer.Option(min=0, help="Seconds that a stage may take to become ready; 0 does not wait.")] = 600,
    take_over: TakeOver = False,
    keep_old: Annotated[bool, typer.Option("--keep-old", help="Delete nothing that the files no longer hold.")] = False,
    allow_unpinned: Annotated[bool, typer.Option("--allow-unpinned", help="Accept images without digest in production.")] = False,
    as_json: JsonFlag = False,
) -> None:  # fmt: skip
    """Make a cluster what the files say, stage by stage, missing secrets included. Running it again changes nothing; after a stop it goes on."""
    from maestro.cli.platform_view import LiveView
    from maestro.core.clock import SystemClock
    from maestro.operations.platform import applying
    from maestro.operations.platform.layout import Layout
    from maestro.operations.platform.rendering import render
    from maestro.operations.platform.secrets import ensure_secrets

    layout = Layout.find(root)
    bodies = render(layout, profile, require_digests=False if allow_unpinned else None)
    cluster = _cluster(context)
    with LiveView(quiet=as_json) as view:
        changes = applying.apply(
            cluster, bodies, view, wait_s=wait, take_over=take_over, prune=not keep_old,
            prepare=lambda: ensure_secrets(cluster, layout, SystemClock().now()),
        )  # fmt: skip
    _show_changes(changes, profile, as_json, "applied")


@app.command()
def remove(
    context: Context = None,
    with_data: Annotated[bool, typer.Option("--with-data", help="Delete volumes, secrets, definitions and namespaces too.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: JsonFlag = False,
) -> None:  # fmt: skip
    """Delete what `apply` made, and nothing else. Data stays unless told otherwise."""
    from maestro.cli.platform_view import LiveView
    from maestro.operations.platform import applying

    if with_data and not yes:
        typer.confirm("Delete every volume, secret and namespace of the platform?", abort=True, err=True)
    with LiveView(quiet=as_json) as view:
        changes = applying.remove(_cluster(context), view, with_data=with_data)
    _show_changes(changes, "inventory", as_json, "removed")


@app.command()
def status(context: Context = None, as_json: JsonFlag = False) -> None:
    """Every object of the platform with its state. Exit code 1 when one is not ready."""
    from dataclasses import asdict

    from maestro.operations.platform.watching import states

    with progress("reading the cluster"):
        found = states(_cluster(context))
    if not found:
        raise NegativeVerdict("nothing was applied here", remedy="maestro platform apply --profile minikube")
    waiting = [one for one in found if not one.ready]
    emit(
        {"ready": not waiting, "objects": [asdict(one) for one in found]},
        as_json=as_json,
        human=lambda: table(
            f"{len(found) - len(waiting)} of {len(found)} ready",
            ("object", "state", ""),
            [
                (one.object, "ready" if one.ready else "waiting", one.why)
                for one in sorted(found, key=lambda one: one.ready)
            ],
        ),
    )
    if waiting:
        raise typer.Exit(1)


@app.command()
def doctor(
    profile: Profile = "minikube", root: Root = None, context: Context = None, as_json: JsonFlag = False
) -> None:
    """What is missing in a cluster or does not fit, before anything is applied. Exit code 1 when something is missing."""
    from dataclasses import asdict

    from maestro.operations.platform.examination import examine
    from maestro.operations.platform.layout import Layout
    from maestro.operations.platform.rendering import render

    layout = Layout.find(root)
    with progress("examining the cluster"):
        findings = examine(_cluster(context), layout, render(layout, profile, require_digests=False))
    missing = [one for one in findings if one.verdict == "missing"]
    emit(
        {"profile": profile, "fits": not missing, "findings": [asdict(one) for one in findings]},
        as_json=as_json,
        human=lambda: table(
            f"profile {profile}: {len(missing)} missing",
            ("check", "", "found", "what to do"),
            [(one.check, one.verdict, one.detail, one.remedy) for one in findings],
        ),
    )
    if missing:
        raise typer.Exit(1)


@app.command()
def secrets(root: Root = None, context: Context = None, as_json: JsonFlag = False) -> None:
    """Create the secrets that are missing, at random. What exists stays; no value is ever printed."""
    from dataclasses import asdict

    from maestro.core.clock import SystemClock
    from maestro.operations.platform.layout import Layout
    from maestro.operations.platform.secrets import ensure_secrets

    with progress("secrets"):
        made = ensure_secrets(_cluster(context), Layout.find(root), SystemClock().now())
    emit(
        {"secrets": [asdict(one) for one in made]},
        as_json=as_json,
        human=lambda: table(
            "", ("object", "", "keys made"), [(one.object, one.action, ", ".join(one.keys)) for one in made]
        ),
    )


@app.command()
def pin(
    only: Annotated[list[str] | None, typer.Argument(help="Images, or parts of their names; all when none is given.")] = None,
    root: Root = None, as_json: JsonFlag = False,
) -> None:  # fmt: skip
    """Fill the digests of infrastructure/versions.yaml from registries and local builds. Exit code 1 when one stays unknown."""
    from dataclasses import asdict

    from maestro.operations.platform.layout import Layout
    from maestro.operations.platform.pinning import pin_versions

    layout = Layout.find(root)
    total, done = max(len(layout.images()), 1), 0
    with progress("resolving digests") as bar:

        def told(one: Any) -> None:
            nonlocal done
            done += 1
            bar.update(done / total, one.image)

        results = pin_versions(layout, only=only or (), told=told)
    unknown = [one for one in results if one.digest is None]
    emit(
        {"resolved": len(results) - len(unknown), "images": [asdict(one) for one in results]},
        as_json=as_json,
        human=lambda: table(
            f"{len(results) - len(unknown)} of {len(results)} have a digest",
            ("image", "digest", "why not"),
            [(one.image, one.digest, one.why) for one in results],
        ),
    )
    if unknown:
        raise typer.Exit(1)


def _cluster(context: str | None) -> Cluster:
    from maestro.clients.kubernetes import Cluster, Connection

    return Cluster(Connection.load(context=context))


def _show_changes(changes: Sequence[Change], profile: str, as_json: bool, word: str) -> None:
    from maestro.operations.platform.objects import shown

    counts = Counter(change.action for change in changes)
    told = ", ".join(f"{count} {action}" for action, count in sorted(counts.items())) or "nothing"
    changed = [change for change in changes if change.action != "unchanged"]

    def human() -> None:
        if changed:
            table("", ("object", "", "stage"), [(shown(one.object), one.action, one.stage) for one in changed])
        out.print(f"{word}, {profile}: {told}", highlight=False)

    document = {
        "profile": profile,
        "counts": dict(counts),
        "changed": [{"object": shown(one.object), "action": one.action, "stage": one.stage} for one in changed],
    }
    emit(document, as_json=as_json, human=human)
