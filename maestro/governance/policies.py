"""Rollout policies as files: those of the checkout by name, any by path."""

from __future__ import annotations

from pathlib import Path

import yaml
from pydantic import ValidationError

import maestro
from maestro.core.errors import Malformed, NotFound, from_validation
from maestro.core.policy import RolloutPolicy


def policy_folder() -> Path:
    """`governance/policies` of the checkout that this package is imported from."""
    return Path(maestro.__file__).parents[1] / "governance" / "policies"


def known_policies() -> tuple[str, ...]:
    """The names that can be given without a path."""
    return tuple(sorted(path.stem for path in policy_folder().glob("*.yaml")))


def read_policy(name_or_path: str) -> RolloutPolicy:
    """The policy of a name or in a file.

    Raises:
        NotFound: there is neither; the known names are listed.
        Malformed: it is not YAML; the line is named.
        BadInput: a field is wrong; it is named.
    """
    path = Path(name_or_path)
    if not path.suffix:
        path = policy_folder() / f"{name_or_path}.yaml"
    what = f"policy file {path}"
    try:
        document = yaml.safe_load(path.read_text())
    except OSError:
        known = ", ".join(known_policies()) or "none"
        raise NotFound(
            f"{what} does not exist", field="policy", remedy=f"give the path of a policy file, or one of: {known}"
        ) from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark is not None else ""
        raise Malformed(f"{what} is not YAML{where}", field="policy", remedy="correct the file") from None
    try:
        return RolloutPolicy.model_validate(document)
    except ValidationError as error:
        raise from_validation(error, what) from None
