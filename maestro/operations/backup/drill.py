"""The drill: a backup is made, restored beside the original and compared; what it measured is told, whatever was promised."""

from __future__ import annotations

import secrets
import tempfile
from pathlib import Path

from maestro.clients.database import Database, current_revision, open_database
from maestro.clients.database.dump import drop_scratch, scratch_database
from maestro.clients.home import Home
from maestro.core.clock import Clock
from maestro.core.model import Model
from maestro.core.seams import NoProgress, Progress
from maestro.operations.backup.create import create_backup
from maestro.operations.backup.folder import backups, read_manifest
from maestro.operations.backup.restore import restore_backup


class DrillReport(Model):
    """What a drill measured.

    `rpo_s` is the age of the newest backup when the drill began: what a disaster in that instant would have lost; None without one.
    `rto_s` is the time from the decision to restore until the restored database was verified, the schema's revision included.
    """

    backup: str
    rpo_s: float | None
    rto_s: float
    backup_s: float
    bytes: int
    tables: int
    rows: int
    files: int
    rpo_target_s: float
    rto_target_s: float
    met: bool


def drill(
    home: Home,
    database: Database,
    clock: Clock,
    target: Path,
    *,
    rpo_target_s: float,
    rto_target_s: float,
    scratch_url: str | None = None,
    progress: Progress | None = None,
) -> DrillReport:
    """Make a backup below `target`, restore it into a scratch database and home, compare, and remove the scratch.

    Args:
        home: is backed up.
        database: is backed up; the scratch database is created on the same server.
        clock: measures.
        target: where backups are.
        rpo_target_s: how old the newest backup may be.
        rto_target_s: how long restoring may take.
        scratch_url: an empty database to restore into, where the role may create none.
        progress: is told how far it is.

    Raises:
        Unreachable: a database is gone, or no scratch database can be created.
        NegativeVerdict: what was restored is not what was backed up.
    """
    progress = progress or NoProgress()
    before = backups(target)
    rpo = (clock.now() - read_manifest(before[-1]).at).total_seconds() if before else None
    made = clock.monotonic()
    progress.update(0.05, "making a backup")
    folder = create_backup(home, database, clock, target)
    backup_s = clock.monotonic() - made
    name = f"maestro_drill_{secrets.token_hex(4)}"
    url = scratch_url or scratch_database(database, name)
    try:
        with tempfile.TemporaryDirectory(prefix="maestro-drill-") as scratch_home:
            progress.update(0.5, "restoring it beside the original")
            began = clock.monotonic()
            restored = open_database(url)
            try:
                manifest = restore_backup(folder, Home(Path(scratch_home)), restored)
                revision = current_revision(restored)
            finally:
                restored.dispose()
            rto = clock.monotonic() - began
    finally:
        if scratch_url is None:
            drop_scratch(database, name)
    main = manifest.databases[0]
    met = rto <= rto_target_s and revision == main.revision and (rpo is None or rpo <= rpo_target_s)
    progress.update(1.0, "done")
    return DrillReport(
        backup=folder.name, rpo_s=None if rpo is None else round(rpo, 3), rto_s=round(rto, 3), backup_s=round(backup_s, 3),
        bytes=manifest.bytes, tables=sum(len(one.rows) for one in manifest.databases),
        rows=sum(sum(one.rows.values()) for one in manifest.databases), files=len(manifest.files),
        rpo_target_s=rpo_target_s, rto_target_s=rto_target_s, met=met,
    )  # fmt: skip
