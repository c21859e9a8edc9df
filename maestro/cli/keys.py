"""`maestro keys`: principals and their keys, through the API; signing keys, where they lie."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from maestro.cli.console import JsonFlag, emit, out, table
from maestro.core.errors import BadInput
from maestro.core.policy import parse_duration
from maestro.core.principals import PrincipalRole

if TYPE_CHECKING:
    from maestro.clients.api import ApiClient

app = typer.Typer(
    no_args_is_help=True, add_completion=False, rich_markup_mode=None, help="Principals and their keys; signing keys."
)


class Kind(StrEnum):
    """What a principal is."""

    HUMAN = "human"
    SERVICE = "service"
    AGENT = "agent"


class SigningKey(StrEnum):
    """The two signing keys."""

    BUILDER = "builder"
    DECIDER = "decider"


Principal = Annotated[str, typer.Argument(help="The principal's name.")]


@app.command("create-principal")
def create_principal(
    name: Principal,
    kind: Annotated[Kind, typer.Option(help="What it is; agents and services never approve.")] = Kind.HUMAN,
    role: Annotated[list[PrincipalRole] | None, typer.Option(help="What it may do; may be repeated.")] = None,
    tenant: Annotated[list[str] | None, typer.Option(help="Where; everywhere when not given.")] = None,
    as_json: JsonFlag = False,
) -> None:
    """Create a principal. It acts once it has a key (`maestro keys mint`)."""
    body = {"name": name, "kind": kind.value, "roles": [str(item) for item in role or []], "tenants": tenant or []}
    with _client() as client:
        created = client.post("/principals", body)
    emit(
        created,
        as_json=as_json,
        human=lambda: out.print(f"created {kind.value}:{name}, roles: {', '.join(body['roles']) or 'none'}"),
    )


@app.command()
def mint(
    name: Principal,
    expires: Annotated[str | None, typer.Option(help="How long it counts, such as 30d or 12h.")] = None,
    as_json: JsonFlag = False,
) -> None:
    """Mint a key of a principal and print it, this once."""
    body = {"expires_in_s": _seconds(expires)} if expires else {}
    with _client() as client:
        minted = client.post(f"/principals/{_segment(name)}/keys", body)

    def show() -> None:
        out.print(minted["token"], soft_wrap=True, highlight=False)

    emit(minted, as_json=as_json, human=show)


@app.command("list")
def list_keys(
    principal: Annotated[str | None, typer.Option(help="Only this principal's keys.")] = None, as_json: JsonFlag = False
) -> None:
    """List principals, their keys without secrets, and the public signing keys that are trusted."""
    with _client() as client:
        people: list[dict[str, Any]] = client.get("/principals")
        keys: list[dict[str, Any]] = client.get("/keys", principal=principal)
    signing = _signing()
    if principal is not None:
        people = [person for person in people if person["principal"]["name"] == principal]

    def show() -> None:
        table(
            "Principals",
            ("name", "kind", "roles", "tenants", "disabled"),
            [
                (
                    person["principal"]["name"],
                    person["principal"]["kind"],
                    ", ".join(person["principal"]["roles"]),
                    ", ".join(person["principal"]["tenants"]) or "all",
                    person.get("disabled"),
                )
                for person in people
            ],
        )
        table(
            "Keys",
            ("key id", "principal", "created", "expires", "revoked"),
            [(key["key_id"], key["principal"], key["created"], key.get("expires"), key.get("revoked")) for key in keys],
        )
        table(
            "Signing keys",
            ("key id", "role", "from", "until", "revoked"),
            [
                (key["keyid"][:16], key["role"], key["not_before"], key.get("not_after"), key.get("revoked"))
                for key in signing
            ],
        )

    emit({"principals": people, "keys": keys, "signing_keys": signing}, as_json=as_json, human=show)


@app.command()
def revoke(
    key_id: Annotated[str, typer.Argument(help="The key's id (maestro keys list).")], as_json: JsonFlag = False
) -> None:
    """Refuse a key from now on."""
    with _client() as client:
        client.delete(f"/keys/{_segment(key_id)}")
    emit({"revoked": key_id}, as_json=as_json, human=lambda: out.print(f"revoked {key_id}", highlight=False))


@app.command("rotate-signing")
def rotate_signing(
    role: Annotated[SigningKey, typer.Argument(help="Which signing key.")],
    compromised: Annotated[
        bool, typer.Option("--compromised", help="Accept nothing any more that the old key ever signed.")
    ] = False,
    as_json: JsonFlag = False,
) -> None:
    """Replace a signing key on this machine, and sign the audit log's head with the new decider key.

    What the old key signed stays good unless it is compromised. Running services have to be started again to sign with the new key.
    """
    from maestro.lifecycle.composition import Platform
    from maestro.security.keyring import rotate_key

    platform = Platform()
    try:
        key = rotate_key(platform.home.keys, _trust_path(), role.value, platform.clock.now(), compromised=compromised)
        with platform.database.begin() as connection:
            platform.audit.append(
                connection,
                actor="system:local",
                action="signing-key.rotate",
                subject=f"signing-key/{role.value}",
                data={"keyid": key.keyid, "compromised": compromised},
                decision=True,
            )
    finally:
        platform.close()
    emit(
        {"role": role.value, "keyid": key.keyid, "compromised": compromised},
        as_json=as_json,
        human=lambda: out.print(f"{role.value} key is now {key.keyid[:16]}; restart the services", highlight=False),
    )


@contextmanager
def _client() -> Iterator[ApiClient]:
    from maestro.clients.api import ApiClient

    client = ApiClient.of()
    try:
        yield client
    finally:
        client.close()


def _signing() -> list[dict[str, Any]]:
    from maestro.security.trust import load_trust

    path = _trust_path()
    return [key.document() for key in load_trust(path).keys] if path.exists() else []


def _trust_path() -> Path:
    from maestro.clients.home import Home
    from maestro.core.settings import settings

    return settings().trust_policy or Home.of().trust_policy


def _seconds(expires: str) -> int:
    try:
        return int(parse_duration(expires).total_seconds())
    except (ValueError, OverflowError) as error:
        raise BadInput(f"--expires: {error}", field="expires", remedy="write 30d, 12h or 90m") from None


def _segment(text: str) -> str:
    from urllib.parse import quote

    return quote(text, safe="")
