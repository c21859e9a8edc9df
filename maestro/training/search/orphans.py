"""Ends trials that nobody will go on with: their study was cancelled or has failed, and its process is gone."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from maestro.clients.database import Database
from maestro.core.errors import MaestroError
from maestro.training.backends import TrainingBackend
from maestro.training.search.jobs import end_trial, studies_of
from maestro.training.search.processes import LOCAL
from maestro.training.search.store import idle_studies

log = logging.getLogger(__name__)


def end_orphans(database: Database, backends: Mapping[str, TrainingBackend]) -> int:
    """End the jobs of trials whose study has no job that is queued or running; studies that are not of this database are left alone.

    What cannot be reached is left for the next call.

    Returns:
        How many were ended.
    """
    count = 0
    for name, backend in backends.items():
        if name == LOCAL:
            continue
        try:
            found = studies_of(backend)
            if not found:
                continue
            with database.read() as connection:
                idle = idle_studies(connection, list(found))
            for study in idle:
                for handle in found[study]:
                    end_trial(backend, handle)
                    count += 1
                log.info("ended %d trials of %s", len(found[study]), study)
        except MaestroError as error:
            log.warning("trials on %s are looked at later: %s", name, error.detail)
    return count
