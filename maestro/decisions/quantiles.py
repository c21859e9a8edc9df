"""Always-valid inference on a quantile and on the difference of a quantile between arms; exact, for any distribution.

Source: Howard and Ramdas, "Sequential estimation of quantiles with applications to A/B testing and best-arm
identification", Bernoulli 2022. The number of values at or below the p-quantile is a Bernoulli(p) walk (ties broken at
random, which the order statistics below enclose), so a beta mixture of its likelihood ratio is a martingale and the
ranks where it stays below 1/alpha are a confidence sequence. Two arms: the product of their martingales at the true
quantiles is one too, which is tighter than two sequences at alpha/2.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special, stats

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class QuantileInterval:
    """A point and its bounds, in the unit of the values. None: not bounded on that side yet."""

    estimate: float
    lower: float | None
    upper: float | None


def mixture_weight(p: float, tuned_at: int, alpha: float) -> float:
    """Pseudo-count of the beta mixture whose bound is tightest near `tuned_at` values.

    >>> round(mixture_weight(0.95, 1000, 0.05))
    114
    """
    _check(p, alpha)
    if tuned_at < 1:
        raise ValueError("tuned_at must be at least 1")
    log_alpha = -2.0 * math.log(alpha)
    return max(tuned_at / (log_alpha + math.log(log_alpha) + 1.0), 1.0)


def log_martingale(below: ArrayLike, n: int, p: float, weight: float) -> Floats:
    """Log of the beta mixture's likelihood ratio against Bernoulli(p) when `below` of `n` values are at or below.

    It starts at 0 and its exponential has mean 1 at any time, so it reaches log(1/alpha) with probability at most alpha.

    >>> float(log_martingale(0, 0, 0.5, 10.0))
    0.0
    """
    s = np.asarray(below, dtype=np.float64)
    a, b = weight * p, weight * (1.0 - p)
    result: Floats = np.asarray(
        special.betaln(a + s, b + n - s) - special.betaln(a, b) - s * math.log(p) - (n - s) * math.log1p(-p),
        dtype=np.float64,
    )
    return result


def quantile_sequence(values: ArrayLike, p: float, *, alpha: float = 0.05, tuned_at: int) -> QuantileInterval:
    """The confidence sequence of the p-quantile at the current look.

    Args:
        values: all values so far, any order, shape (n,).
        p: which quantile, inside (0, 1).
        alpha: two-sided error over all looks together.
        tuned_at: number of values at which the bound is wanted tightest; fix it before the first look.

    >>> look = quantile_sequence(range(1001), 0.5, tuned_at=1000)
    >>> look.estimate, look.lower, look.upper
    (500.0, 452.0, 548.0)
    """
    x = _sorted(values, "values")
    ranks, _ = _ranks(x.size, p, alpha, mixture_weight(p, tuned_at, alpha), math.log(1.0 / alpha))
    edges = _edges(x)
    lower, upper = edges[ranks[0]], edges[ranks[-1] + 1]
    return QuantileInterval(_quantile(x, p), _bound(lower), _bound(upper))


def quantile_difference_sequence(
    champion: ArrayLike, challenger: ArrayLike, p: float, *, alpha: float = 0.05, tuned_at: int
) -> QuantileInterval:
    """The confidence sequence of challenger's p-quantile − champion's. It is a test too: 0 outside means a difference.

    Args:
        champion: all values of the champion so far, any order.
        challenger: all values of the challenger so far, any order.
        p: which quantile, inside (0, 1).
        alpha: two-sided error over all looks together.
        tuned_at: values of both arms together at which the bound is wanted tightest; fix it before the first look.

    >>> import numpy as np
    >>> rng = np.random.default_rng(1)
    >>> look = quantile_difference_sequence(rng.exponential(1, 4000), rng.exponential(1.3, 4000), 0.5, tuned_at=8000)
    >>> look.lower > 0
    True
    """
    x0, x1 = _sorted(champion, "champion"), _sorted(challenger, "challenger")
    weight = mixture_weight(p, max(tuned_at // 2, 1), alpha)
    limit = math.log(1.0 / alpha)
    least1 = _least(x1.size, p, weight)
    least0 = _least(x0.size, p, weight)
    ranks0, log0 = _ranks(x0.size, p, alpha, weight, limit - least1)
    ranks1, log1 = _ranks(x1.size, p, alpha, weight, limit - least0)
    edges0, edges1 = _edges(x0), _edges(x1)
    # For each rank of arm 0, the least and greatest rank of arm 1 that what is left of log(1/alpha) allows.
    budget = limit - log0
    centre = int(np.argmin(log1))
    left = np.searchsorted(-log1[: centre + 1], -budget, side="left")
    right = centre + np.searchsorted(log1[centre:], budget, side="right") - 1
    feasible = (left <= centre) & (right >= centre) & (log1[centre] <= budget)
    with np.errstate(invalid="ignore"):
        low = edges1[ranks1[np.minimum(left, ranks1.size - 1)]] - edges0[ranks0 + 1]
        high = edges1[ranks1[right] + 1] - edges0[ranks0]
    lower = float(np.min(np.where(feasible, low, np.inf)))
    upper = float(np.max(np.where(feasible, high, -np.inf)))
    return QuantileInterval(_quantile(x1, p) - _quantile(x0, p), _bound(lower), _bound(upper))


def quantile_standard_error(values: ArrayLike, p: float) -> float:
    """The large-sample standard error of a sample quantile from the spread of its order statistics (Woodruff 1952).

    For the fixed and the planned mode, whose looks are planned. Infinite while the order statistics are not there.

    >>> import numpy as np
    >>> round(quantile_standard_error(np.arange(10_000) / 10_000, 0.5), 4)
    0.005
    """
    x = _sorted(values, "values")
    z = float(stats.norm.ppf(0.975))
    spread = z * math.sqrt(p * (1.0 - p) / x.size)
    low, high = math.floor((p - spread) * x.size), math.ceil((p + spread) * x.size)
    if low < 0 or high >= x.size:
        return math.inf
    return float(x[high] - x[low]) / (2.0 * z)


def _least(n: int, p: float, weight: float) -> float:
    near = np.clip(np.arange(math.floor(p * n) - 2, math.ceil(p * n) + 3), 0, n)
    return float(np.min(log_martingale(near, n, p, weight)))


def _ranks(n: int, p: float, alpha: float, weight: float, limit: float) -> tuple[NDArray[np.int64], Floats]:
    """The counts that stay at or below `limit`, a run around p·n, with their log martingales."""
    _check(p, alpha)
    reach = (
        math.ceil(
            1.5 * math.sqrt(2.0 * n * p * (1.0 - p) * (max(limit, 1.0) + 0.5 * math.log1p(n))) + 4 * max(limit, 1.0)
        )
        + 8
    )
    counts = np.arange(max(0, math.floor(p * n) - reach), min(n, math.ceil(p * n) + reach) + 1, dtype=np.int64)
    log_m = log_martingale(counts, n, p, weight)
    inside = log_m <= limit
    # The walk is convex in the count: when an end of the window is still inside, the window was too narrow.
    if (inside[0] and counts[0] > 0) or (inside[-1] and counts[-1] < n):
        counts = np.arange(n + 1, dtype=np.int64)
        log_m = log_martingale(counts, n, p, weight)
        inside = log_m <= limit
    if not inside.any():
        inside = log_m == log_m.min()
    return counts[inside], log_m[inside]


def _edges(x: Floats) -> Floats:
    """The order statistics between −∞ and +∞: `edges[s] <= q <= edges[s + 1]` when s values lie at or below q."""
    return np.concatenate(([-np.inf], x, [np.inf]))


def _sorted(values: ArrayLike, name: str) -> Floats:
    x = np.sort(np.asarray(values, dtype=np.float64))
    if x.ndim != 1 or x.size == 0 or not np.isfinite(x).all():
        raise ValueError(f"{name}: a non-empty one-dimensional list of finite numbers is needed")
    return x


def _quantile(x: Floats, p: float) -> float:
    return float(x[min(math.ceil(p * x.size) - 1, x.size - 1)]) if p * x.size > 1 else float(x[0])


def _bound(value: float | np.floating) -> float | None:
    return float(value) if math.isfinite(value) else None


def _check(p: float, alpha: float) -> None:
    if not 0.0 < p < 1.0:
        raise ValueError("p must lie inside (0, 1)")
    if not 0.0 < alpha < 1.0:
        raise ValueError("alpha must lie inside (0, 1)")
