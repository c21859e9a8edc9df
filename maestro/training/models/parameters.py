"""Parameters that belong to the pipeline and not to the estimator."""

from __future__ import annotations

RESERVED = frozenset({
    "algorithm", "seed", "test_size", "experiment", "study", "study_id", "on_out_of_range", "max_restarts", "git_commit",
})  # fmt: skip
"""What the pipeline reads from `params` itself."""
