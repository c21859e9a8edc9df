"""Secrets in environment variables: `slack-webhook` is `MAESTRO_SECRET_SLACK_WEBHOOK`."""

from __future__ import annotations

import os
from collections.abc import MutableMapping

from maestro.security.secrets._base import checked_name, checked_value, missing

PREFIX = "MAESTRO_SECRET_"


class EnvironmentSecrets:
    """The variables of this process. `put` sets one for this process and those it starts afterwards; it does not outlive them."""

    def __init__(self, variables: MutableMapping[str, str] | None = None) -> None:
        self._variables = os.environ if variables is None else variables

    def get(self, name: str) -> str:
        """The value of the secret `name`.

        Raises:
            NotFound: the variable is not set, or empty.
        """
        variable = _variable(name)
        value = self._variables.get(variable, "")
        if not value:
            raise missing(name, f"the variable {variable}")
        return value

    def put(self, name: str, value: str) -> None:
        """Create or replace it."""
        self._variables[_variable(name)] = checked_value(name, value)


def _variable(name: str) -> str:
    return PREFIX + checked_name(name).upper().replace("-", "_")
