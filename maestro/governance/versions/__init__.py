"""Model versions: registered from a run, numbered by what changed, promoted by record."""

from maestro.governance.versions.registrar import Registrar, Registration
from maestro.governance.versions.stages import Stages
from maestro.governance.versions.store import ModelVersion, Stage, VersionStore

__all__ = ["ModelVersion", "Registrar", "Registration", "Stage", "Stages", "VersionStore"]
