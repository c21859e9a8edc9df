"""What another policy would have earned, from an experiment's exposure log."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import Field

from maestro.ab_testing.decided import Decided, read_decided
from maestro.clients.bandit_snapshots import read_snapshot
from maestro.core.canonical import digest, digest_bytes
from maestro.core.errors import BadInput
from maestro.core.model import Digest, Model
from maestro.decisions.bandits import Decider, create_policy
from maestro.decisions.off_policy import ESTIMATORS, Estimate, Logged, check_overlap, create_estimator
from maestro.decisions.off_policy._base import Floats


class OffPolicyResult(Model):
    """The estimates of one target beside what the log itself brought.

    `logged_value` is the mean reward of the log's own decisions; `without_reward` counts decisions that are left out because no reward is here.
    """

    schema_: Literal["maestro.off-policy/1"] = Field(default="maestro.off-policy/1", alias="schema")
    experiment: str
    target: str
    inputs: Digest
    decisions: int
    without_reward: int
    arms: dict[str, int]
    logged_value: float
    estimates: tuple[Estimate, ...]


def evaluate(
    experiment: str,
    exposures: Sequence[Path],
    rewards: Path,
    target: str,
    *,
    estimators: Sequence[str] = (),
    clip: float | None = None,
    confidence: float = 0.95,
    missing_reward: float | None = None,
) -> OffPolicyResult:
    """Estimate the mean reward that a target policy would have brought on the units of a log.

    Args:
        exposures: Parquet files of exposures.
        rewards: `rewards.jsonl`, or a Parquet file of `reward_id` and `reward`.
        target: `arm:NAME`, `uniform`, or the path of a policy snapshot.
        estimators: names; all when empty.
        clip: bound on the weights.
        missing_reward: what an exposure without a reward brought (0 for a click that did not come); None leaves such exposures out.

    Each unit counts once, by its first exposure.

    Raises:
        BadInput: the log has no overlap with the target, or a file or option is wrong; names it.
    """
    whole = read_decided(exposures, experiment, rewards).first_of_units()
    rewarded = whole
    if missing_reward is None:
        rewarded = whole.take(np.isfinite(whole.reward))
    reward = np.where(np.isnan(rewarded.reward), missing_reward or 0.0, rewarded.reward)
    if not rewarded.size:
        raise BadInput(
            f"no exposure of {experiment!r} has a reward",
            field="rewards",
            remedy="send rewards, or say what a missing one means",
        )
    arms, chances = _target(target, rewarded)
    logged = Logged(
        arm=np.array([arms.index(arm) for arm in rewarded.arm.tolist()], dtype=np.int64),
        reward=reward,
        propensity=rewarded.propensity,
        target=chances,
        context=rewarded.context,
    )
    check_overlap(logged, clip, confidence, arms)
    files = [digest_bytes(path.read_bytes()) for path in (*exposures, rewards)]
    return OffPolicyResult(
        experiment=experiment,
        target=target,
        inputs=digest(sorted(files)),
        decisions=rewarded.size,
        without_reward=whole.size - rewarded.size,
        arms={arm: int((rewarded.arm == arm).sum()) for arm in arms},
        logged_value=float(reward.mean()),
        estimates=tuple(
            create_estimator(name).estimate(logged, clip=clip, confidence=confidence)
            for name in (estimators or sorted(ESTIMATORS))
        ),
    )


def _target(target: str, log: Decided) -> tuple[list[str], Floats]:
    """The arms, and the target's probability of each for every decision."""
    seen = sorted(set(log.arm.tolist()))
    kind, _, name = target.partition(":")
    if target == "uniform":
        return seen, np.full((log.size, len(seen)), 1.0 / len(seen))
    if kind == "arm" and name:
        arms = sorted({*seen, name})
        chances = np.zeros((log.size, len(arms)))
        chances[:, arms.index(name)] = 1.0
        return arms, chances
    path = Path(target)
    if path.suffix != ".json":
        raise BadInput(
            f"target {target!r} is not known",
            field="target",
            remedy="give arm:NAME, uniform, or the file of a policy snapshot (….json)",
        )
    snapshot = read_snapshot(path)
    decider = Decider(create_policy(snapshot.policy), snapshot)
    given = decider.propensities(log.size, log.context if decider.contextual else None)
    arms = [*decider.names, *(arm for arm in seen if arm not in decider.names)]
    return arms, np.concatenate([given, np.zeros((log.size, len(arms) - len(decider.names)))], axis=1)
