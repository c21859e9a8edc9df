"""Backup, verification, restore and the drill that measures them."""

from maestro.operations.backup.create import create_backup
from maestro.operations.backup.drill import drill
from maestro.operations.backup.folder import BackupManifest, backups, latest, verify_backup
from maestro.operations.backup.restore import restore_backup

__all__ = ["BackupManifest", "backups", "create_backup", "drill", "latest", "restore_backup", "verify_backup"]
