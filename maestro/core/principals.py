"""Who acts: a principal comes from a verified credential, never from a flag, a body or a user name."""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

from maestro.core.errors import Refused
from maestro.core.model import Model, Name


class PrincipalRole(StrEnum):
    """What a principal may do. `operator` may administer, and still not approve their own submissions."""

    VIEWER = "viewer"
    SUBMITTER = "submitter"
    APPROVER = "approver"
    OPERATOR = "operator"


class Principal(Model):
    """A verified identity. Two keys of one person are one principal."""

    name: Name
    kind: Literal["human", "service", "agent", "system"]
    roles: tuple[PrincipalRole, ...] = ()
    tenants: tuple[str, ...] = ()

    @property
    def actor(self) -> str:
        """How records and the audit log name it: `human:ada`."""
        return f"{self.kind}:{self.name}"

    def require(self, *roles: PrincipalRole) -> None:
        """Refuse unless the principal has one of `roles`; an operator has every role but approver.

        Raises:
            Refused: it has none of them.
        """
        have = set(self.roles)
        if PrincipalRole.OPERATOR in have:
            have |= {PrincipalRole.VIEWER, PrincipalRole.SUBMITTER}
        elif have:
            have.add(PrincipalRole.VIEWER)
        if not have & set(roles):
            needed = " or ".join(roles)
            raise Refused(
                f"{self.actor} lacks the role {needed}", remedy=f"use a key whose principal has the role {needed}"
            )

    def may_see(self, tenant: str) -> bool:
        """Whether the principal may act in `tenant`; no tenants listed means all for operators and services."""
        if not self.tenants:
            return True
        return tenant in self.tenants


SYSTEM = Principal(name="controller", kind="system", roles=(PrincipalRole.OPERATOR,))
"""The control plane itself."""
