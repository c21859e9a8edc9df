"""What a home needs before its services start: folders, database, signing keys, trust policy, principals with keys of their own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from maestro.clients.database import migrate
from maestro.clients.home import Home, write_private
from maestro.core.principals import Principal, PrincipalRole
from maestro.core.settings import Settings, settings
from maestro.lifecycle.composition import Platform
from maestro.security.keyring import ensure_keys


@dataclass(frozen=True)
class Actor:
    """One principal of the laptop."""

    name: str
    kind: Literal["human", "service", "agent"]
    roles: tuple[PrincipalRole, ...]


ACTORS = (
    Actor("user", "human", (PrincipalRole.SUBMITTER, PrincipalRole.OPERATOR)),
    Actor("submitter", "human", (PrincipalRole.SUBMITTER,)),
    Actor("reviewer", "human", (PrincipalRole.APPROVER,)),
    Actor("service", "service", (PrincipalRole.SUBMITTER, PrincipalRole.OPERATOR)),
    Actor("agent", "agent", (PrincipalRole.SUBMITTER,)),
)
"""Who a laptop knows. Each has a key of their own in `keys/<name>.token`."""


def prepare(home: Home, options: Settings | None = None) -> Platform:
    """Create what is missing in `home`; repeating it changes nothing.

    Returns:
        The platform over it.
    """
    for folder in (home.keys, home.data, home.features, home.versions, home.graphs, home.exposures, home.logs):
        folder.mkdir(parents=True, exist_ok=True)
    home.keys.chmod(0o700)
    platform = Platform((options or settings()).model_copy(update={"home": home.root}))
    migrate(platform.database)
    ensure_keys(home.keys, home.trust_policy, platform.clock.now())
    _principals(home, platform)
    return platform


def _principals(home: Home, platform: Platform) -> None:
    for actor in ACTORS:
        token = home.keys / f"{actor.name}.token"
        if token.exists():
            continue
        platform.principals.create(Principal(name=actor.name, kind=actor.kind, roles=actor.roles))
        write_private(token, platform.principals.mint_key(actor.name) + "\n")
    platform.principals.export_verifiers(home.server_keys)
