"""The chance that a measurement would have seen an effect, had there been one; low power proves nothing."""

from __future__ import annotations

import math
from statistics import NormalDist

NORMAL = NormalDist()
LEAST_DEVIATION = 0.1  # of people's means: two people who happen to agree prove nothing


def power_of_auc(n_pos: int, n_neg: int, effect: float = 0.2, alpha: float = 0.05) -> float:
    """Return the power of the two-sided test of AUC = 1/2 when the AUC is 1/2 + `effect`.

    Normal approximation with the variance of Hanley and McNeil (1982), where Q1 = A / (2 - A) and
    Q2 = 2 A² / (1 + A). Counting people, not records, is the cautious choice: it treats the records
    of one person as one.

    Args:
        n_pos: People among the positives.
        n_neg: People among the negatives.
        effect: Distance from 1/2 that should be seen, below 1/2.
        alpha: Two-sided level of the test.

    Returns:
        A probability; 0 with fewer than two people on a side, or where no AUC at all could be significant.
    """
    if min(n_pos, n_neg) < 2:
        return 0.0
    critical = NORMAL.inv_cdf(1 - alpha / 2) * math.sqrt(_auc_variance(0.5, n_pos, n_neg))
    if critical >= 0.5:
        return 0.0
    error = math.sqrt(_auc_variance(0.5 + effect, n_pos, n_neg))
    return NORMAL.cdf((effect - critical) / error) + NORMAL.cdf((-effect - critical) / error)


def _auc_variance(area: float, n_pos: int, n_neg: int) -> float:
    first, second = area / (2 - area), 2 * area**2 / (1 + area)
    spread = (n_pos - 1) * (first - area**2) + (n_neg - 1) * (second - area**2)
    return (area * (1 - area) + spread) / (n_pos * n_neg)


def power_of_mean(n: int, effect: float, deviation: float, alpha: float = 0.05, n_other: int | None = None) -> float:
    """Return the power of the one-sided t test of a mean, or of a difference of two means.

    Exact for normal people's means, by the noncentral t distribution.

    Args:
        n: People.
        effect: The difference that should be seen, in the direction of the test.
        deviation: Standard deviation between people's means; never taken below `LEAST_DEVIATION`.
        alpha: One-sided level of the test.
        n_other: People of the second group, or None where the mean is compared with a number.

    Returns:
        A probability; 0 with fewer than two people in a group or without a finite deviation.
    """
    from scipy.stats import nct, t

    if min(n, n if n_other is None else n_other) < 2 or not math.isfinite(deviation):
        return 0.0
    error = max(deviation, LEAST_DEVIATION) * math.sqrt(1 / n + (0 if n_other is None else 1 / n_other))
    freedom = n - 1 if n_other is None else n + n_other - 2
    return float(nct.sf(t.ppf(1 - alpha, freedom), freedom, effect / error))


def power_of_shift(effect: float, error: float, alpha: float = 0.05) -> float:
    """Return the power of the two-sided normal test of an estimate whose standard error is known."""
    if not math.isfinite(error):
        return 0.0
    if error == 0:
        return 1.0
    critical = NORMAL.inv_cdf(1 - alpha / 2)
    return NORMAL.cdf(effect / error - critical) + NORMAL.cdf(-effect / error - critical)


def power_of_equivalence(margin: float, error: float, freedom: float = math.inf, alpha: float = 0.05) -> float:
    """Return the power of two one-sided t tests (Schuirmann, 1987) where the true difference is 0.

    This is the probability that the whole interval of coverage 1 - 2 `alpha` falls within the margins, by the
    central t distribution, as sample sizes are planned in Chow, Shao and Wang (2008). It is a little below
    the exact one for few people.

    Args:
        margin: Largest difference, either way, that counts as none.
        error: Standard error of the estimated difference.
        freedom: Degrees of freedom of that standard error.
        alpha: Level of each one-sided test.
    """
    from scipy.stats import t

    if not math.isfinite(error) or not freedom > 0:
        return 0.0
    if error == 0:
        return 1.0
    return max(0.0, 2 * float(t.cdf(margin / error - t.ppf(1 - alpha, freedom), freedom)) - 1)


def margin_of_equivalence(power: float, error: float, freedom: float = math.inf, alpha: float = 0.05) -> float:
    """Return the smallest margin that `power_of_equivalence` gives this power for: what so many people could show.

    Args:
        power: Above 0 and below 1.
        error: Standard error of the estimated difference.
        freedom: Degrees of freedom of that standard error.
        alpha: Level of each one-sided test.

    Returns:
        A difference; infinite where no margin would do.
    """
    from scipy.stats import t

    if not math.isfinite(error) or not freedom > 0:
        return math.inf
    return error * float(t.ppf((1 + power) / 2, freedom) + t.ppf(1 - alpha, freedom))


def power_of_ks(n: int, effect: float = 0.4, alpha: float = 0.05, runs: int = 500) -> float:
    """Return the power of the two-sample Kolmogorov-Smirnov test, `n` items a side, at true distance `effect`.

    Simulated from two normal distributions of equal width, with a fixed seed, against the
    asymptotic critical distance, which is cautious for small `n`.
    """
    import numpy as np

    if n < 2:
        return 0.0
    shift = 2 * NORMAL.inv_cdf((1 + effect) / 2)
    samples = np.random.default_rng(0).normal(size=(runs, 2 * n))
    samples[:, n:] += shift
    order = np.argsort(samples, axis=1)
    distance = np.abs(np.cumsum(np.where(order < n, 1, -1), axis=1)).max(axis=1) / n
    critical = math.sqrt(-math.log(alpha / 2) / 2) * math.sqrt(2 / n)
    return float((distance > critical).mean())
