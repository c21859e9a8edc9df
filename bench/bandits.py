"""Decisions of each policy in a batch, beside plain NumPy on the same arms: no keys, no propensities, no floor, no replay."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from maestro.decisions.bandits import Decider, create_policy

UNITS, ARMS, NUMBERS, REPEATS = 20_000, 3, 10, 5


def _rate(work: Callable[[], object]) -> float:
    """Decisions a second, the best of several runs."""
    best = float("inf")
    for _ in range(REPEATS):
        started = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - started)
    return UNITS / best


def compare() -> list[str]:
    """One line a policy: ours in a batch, plain NumPy in a batch, ours one by one."""
    rng = np.random.default_rng(2026)
    units = [f"unit-{number}" for number in range(UNITS)]
    context = rng.uniform(-1.0, 1.0, (UNITS, NUMBERS))
    arms = [f"arm-{number}" for number in range(ARMS)]
    arm, reward = rng.integers(0, ARMS, 1000), (rng.random(1000) < 0.3).astype(np.float64)
    won, lost = np.bincount(arm, reward, ARMS) + 1, np.bincount(arm, 1 - reward, ARMS) + 1
    inverses = np.stack([np.linalg.inv(np.eye(NUMBERS + 1) * 50 + k) for k in range(ARMS)])
    weights = rng.normal(size=(ARMS, NUMBERS + 1))

    def thompson() -> object:
        return rng.beta(won, lost, size=(UNITS, ARMS)).argmax(axis=1)

    def linucb() -> object:
        x = np.concatenate([context, np.ones((UNITS, 1))], axis=1)
        bonus = np.stack([np.einsum("ij,jk,ik->i", x, inverse, x, optimize=True) for inverse in inverses], axis=1)
        return (x @ weights.T + np.sqrt(np.abs(bonus))).argmax(axis=1)

    def greedy() -> object:
        best = int((won / (won + lost)).argmax())
        return np.where(rng.random(UNITS) < 0.03, rng.integers(0, ARMS, UNITS), best)

    plain = {"thompson": thompson, "linucb": linucb, "epsilon_greedy": greedy}
    lines = [
        f"{UNITS} units, {ARMS} arms, {NUMBERS} numbers of context; decisions a second, one thread",
        f"{'policy':>15} {'ours, a batch':>14} {'NumPy alone':>12} {'ours, one by one':>17}",
    ]
    for name, alone in plain.items():
        policy = create_policy(name)
        seen = context if policy.contextual else None
        snapshot = policy.start("bench", arms, ranges=[(-1.0, 1.0)] * NUMBERS if policy.contextual else ())
        snapshot = policy.learn(snapshot, arm, reward, None if seen is None else seen[:1000])
        decider = Decider(policy, snapshot)
        ours = _rate(lambda decider=decider, seen=seen: decider.many(units, seen))  # type: ignore[misc]
        rows = [None] * UNITS if seen is None else seen.tolist()
        started = time.perf_counter()
        for unit, row in zip(units[:2000], rows[:2000], strict=True):
            decider.one(unit, row)
        single = 2000 / (time.perf_counter() - started)
        lines.append(f"{name:>15} {ours:>14,.0f} {_rate(alone):>12,.0f} {single:>17,.0f}")
    return lines
