"""The metrics that every part exports, by name, kind, labels and meaning. No tenant, user or run label on the hot path."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

LATENCY_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.5, 1.0)
"""Upper bounds in seconds of `maestro_inference_latency_seconds`."""


@dataclass(frozen=True)
class MetricSpec:
    """One metric family."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()


_ARM = ("model", "version", "arm")

METRICS: dict[str, MetricSpec] = {
    spec.name: spec
    for spec in (
        MetricSpec("maestro_inference_requests_total", "counter", "First attempts of an arm by outcome: ok, error, timeout, contract.", (*_ARM, "outcome")),
        MetricSpec("maestro_inference_latency_seconds", "histogram", "Latency of an arm's first attempt.", _ARM, LATENCY_BUCKETS),
        MetricSpec("maestro_inference_batch_size", "histogram", "Rows in a request.", ("model",), (1, 2, 4, 8, 16, 32, 64, 128, 256, 1024)),
        MetricSpec("maestro_inference_queue_depth", "gauge", "Requests waiting."),
        MetricSpec("maestro_inference_inflight", "gauge", "Requests being answered."),
        MetricSpec("maestro_inference_out_of_range_total", "counter", "Values outside the contract's range, accepted and counted.", ("model", "feature")),
        MetricSpec("maestro_responses_total", "counter", "Responses to callers by HTTP status.", ("status",)),
        MetricSpec("maestro_response_latency_seconds", "histogram", "Latency of responses to callers.", (), LATENCY_BUCKETS),
        MetricSpec("maestro_cache_hits_total", "counter", "Cache hits.", ("cache",)),
        MetricSpec("maestro_cache_misses_total", "counter", "Cache misses.", ("cache",)),
        MetricSpec("maestro_breaker_state", "gauge", "Circuit breaker: 0 closed, 1 half open, 2 open.", ("model",)),
        MetricSpec("maestro_model_swaps_total", "counter", "Graph swaps by result: ok, refused.", ("result",)),
        MetricSpec("maestro_graph_revision", "gauge", "Revision of the graph that is served, for each arm in it with its version.", _ARM),
        MetricSpec("maestro_serving_unsigned", "gauge", "1 when unsigned versions are allowed."),
        MetricSpec("maestro_labels_total", "counter", "Labels that arrived, by whether the answer was right.", ("model", "version", "correct")),
        MetricSpec("maestro_exposures_dropped_total", "counter", "Exposures dropped because the queue was full."),
        MetricSpec("maestro_jobs", "gauge", "Training jobs.", ("state", "priority", "backend")),
        MetricSpec("maestro_job_duration_seconds", "histogram", "Duration of ended jobs.", ("model_type", "state"), (1, 5, 10, 30, 60, 300, 900, 1800, 3600, 14400)),
        MetricSpec("maestro_hpo_trials_total", "counter", "Trials by state.", ("state",)),
        MetricSpec("maestro_drift_share", "gauge", "Share of columns that drifted.", ("dataset",)),
        MetricSpec("maestro_drift_effect", "gauge", "Effect of a column: KS distance or total variation.", ("dataset", "column")),
        MetricSpec("maestro_drift_signals_total", "counter", "Changes that streaming detectors found in served traffic.", ("dataset", "column")),
        MetricSpec("maestro_shadow_copies_total", "counter", "Copies for a mirror, paired with the primary's answer: agree, differ, failed, dropped.", ("model", "node", "result")),
        MetricSpec("maestro_bandit_exposures", "gauge", "First exposures in a bandit's log.", ("model", "experiment", "arm")),
        MetricSpec("maestro_bandit_rewarded", "gauge", "Those of them whose reward is here.", ("model", "experiment", "arm")),
        MetricSpec("maestro_bandit_reward", "gauge", "The sum of their rewards.", ("model", "experiment", "arm")),
        MetricSpec("maestro_bandit_regret", "gauge", "Reward that always taking the arm now believed best would have added.", ("model", "experiment")),
        MetricSpec("maestro_bandit_exploration_rate", "gauge", "Share of exposures on another arm than the one believed best.", ("model", "experiment")),
        MetricSpec("maestro_bandit_snapshot", "gauge", "Number of the current policy snapshot.", ("model", "experiment")),
        MetricSpec("maestro_rollout_weight", "gauge", "Weight of the challenger, 0 to 1.", ("model",)),
        MetricSpec("maestro_cost_usd_total", "counter", "Cost by kind: training, tuning, serving, idle.", ("kind",)),
        MetricSpec("maestro_api_requests_total", "counter", "Requests to the control plane by method, route and HTTP status.", ("method", "route", "status")),
        MetricSpec("maestro_api_latency_seconds", "histogram", "Latency of the control plane's answers.", ("route",), (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)),
        MetricSpec("maestro_database_up", "gauge", "1 when the platform database answered the exporter."),
        MetricSpec("maestro_queue_oldest_seconds", "gauge", "Age of the oldest queued job.", ("priority",)),
        MetricSpec("maestro_outbox_undelivered", "gauge", "Events of kinds that somebody acts on which wait for delivery."),
        MetricSpec("maestro_drift_checked_timestamp_seconds", "gauge", "When a data set was last checked, Unix time.", ("dataset",)),
        MetricSpec("maestro_rollouts", "gauge", "Rollouts by status.", ("model", "status")),
        MetricSpec("maestro_rollout_age_seconds", "gauge", "Time since a rollout that is not final began.", ("model",)),
        MetricSpec("maestro_approvals_pending", "gauge", "Versions that wait for a person."),
        MetricSpec("maestro_slo_gap_seconds", "gauge", "Seconds of the last 24 hours of which nothing is known, by SLO.", ("slo",)),
    )
}  # fmt: skip
