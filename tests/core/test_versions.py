"""Semantic versions and their bumps."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maestro.core.errors import BadInput
from maestro.core.versions import Bump, next_version, parse_version


@pytest.mark.parametrize("text", ["1", "1.2", "v1.2.3", "1.2.3.4", "01.2.3", "", "latest"])
def test_what_is_no_version_is_refused(text: str) -> None:
    with pytest.raises(BadInput, match="is not a semantic version") as caught:
        parse_version(text)
    assert caught.value.remedy


@given(st.integers(0, 99), st.integers(0, 99), st.integers(0, 99), st.sampled_from(Bump))
def test_the_next_version_is_newer(major: int, minor: int, patch: int, bump: Bump) -> None:
    current = f"{major}.{minor}.{patch}"
    following = parse_version(next_version(current, bump))
    assert following > parse_version(current)
    assert (following.major > major) == (bump is Bump.MAJOR)
