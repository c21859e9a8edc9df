"""Roles: an operator administers and still cannot approve."""

from __future__ import annotations

import pytest

from maestro.core.errors import Refused
from maestro.core.principals import SYSTEM, Principal, PrincipalRole

HAVE = {
    PrincipalRole.VIEWER: {PrincipalRole.VIEWER},
    PrincipalRole.SUBMITTER: {PrincipalRole.VIEWER, PrincipalRole.SUBMITTER},
    PrincipalRole.APPROVER: {PrincipalRole.VIEWER, PrincipalRole.APPROVER},
    PrincipalRole.OPERATOR: {PrincipalRole.VIEWER, PrincipalRole.SUBMITTER, PrincipalRole.OPERATOR},
}


@pytest.mark.parametrize("role", list(PrincipalRole))
@pytest.mark.parametrize("needed", list(PrincipalRole))
def test_what_each_role_may_do(role: PrincipalRole, needed: PrincipalRole) -> None:
    principal = Principal(name="ada", kind="human", roles=(role,))
    if needed in HAVE[role]:
        principal.require(needed)
    else:
        with pytest.raises(Refused, match=f"human:ada lacks the role {needed}"):
            principal.require(needed)


def test_no_role_may_do_nothing() -> None:
    with pytest.raises(Refused):
        Principal(name="bob", kind="service").require(*PrincipalRole)


def test_the_control_plane_itself_cannot_approve() -> None:
    with pytest.raises(Refused):
        SYSTEM.require(PrincipalRole.APPROVER)


def test_tenants_confine() -> None:
    assert Principal(name="a", kind="human", tenants=("t1",)).may_see("t1")
    assert not Principal(name="a", kind="human", tenants=("t1",)).may_see("t2")
    assert Principal(name="a", kind="human").may_see("t2")
