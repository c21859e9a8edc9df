"""Migrations: the chain leads to the schema, on both kinds, and services refuse another revision."""

from __future__ import annotations

from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import inspect

from maestro.clients.database import Database, current_revision, head_revision, migrate, open_database
from maestro.clients.database.migrate import VERSION_TABLE, require_current
from maestro.clients.database.schema import metadata
from maestro.core.errors import Unreachable

PROMISED_TABLES = {
    "ai_training_jobs", "ai_experiments", "ai_experiment_metrics", "ai_experiment_params", "ai_training_logs", "ai_hpo_studies",
    "ai_hpo_trials", "model_versions", "approvals", "decisions", "rollouts", "audit_log", "principals", "slo_rollups", "cost_entries", "outbox",
}  # fmt: skip


def test_the_chain_leads_to_the_schema(database: Database) -> None:
    with database.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE, "compare_type": True})
        differences = compare_metadata(context, metadata)
    assert differences == []


@pytest.mark.shows("D3", "D5", env="laptop")
def test_promised_tables_and_views_are_there(database: Database) -> None:
    inspector = inspect(database.engine)
    assert set(inspector.get_table_names()) >= PROMISED_TABLES
    assert set(inspector.get_view_names()) >= {"active_training_jobs", "experiment_summary"}


def test_migrating_twice_changes_nothing(database: Database) -> None:
    migrate(database)
    assert current_revision(database) == head_revision()
    require_current(database)


def test_a_database_that_was_never_migrated_is_refused_with_the_remedy(tmp_path: Path) -> None:
    database = open_database(f"sqlite:///{tmp_path / 'empty.db'}")
    with pytest.raises(Unreachable, match="revision none") as caught:
        require_current(database)
    assert caught.value.remedy == "run `maestro platform migrate`"
    database.dispose()
