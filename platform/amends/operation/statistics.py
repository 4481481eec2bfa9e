"""Statistics that probes share: AUC, Kolmogorov-Smirnov distance, and intervals that resample people.

Records of one person resemble each other, so an interval that resamples records is too narrow:
here whole people are drawn, with all their records. A statistic is a function of values and of
weights, shape (resamples, items), so that every resample is computed at once.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.random import Generator
    from numpy.typing import NDArray

    Array = NDArray[Any]
    Values = Sequence[float] | Array
    Statistic = Callable[[Array, Array], Array]


def auc(scores_pos: Values, scores_neg: Values) -> float:
    """Return the chance that a positive scores above a negative, a tie counting one half (Mann and Whitney).

    Returns:
        The area in [0, 1]; NaN when a side is empty or a score is NaN, so that nobody takes it for an answer.
    """
    import numpy as np

    positives, negatives = np.asarray(scores_pos, dtype=float), np.asarray(scores_neg, dtype=float)
    if not len(positives) or not len(negatives) or np.isnan(positives).any() or np.isnan(negatives).any():
        return math.nan
    return float(_wins(positives, np.sort(negatives)).mean() / len(negatives))


def weighted_mean(values: Array, weights: Array) -> Array:
    """Return the mean of `values`, shape (items,), under each row of `weights`."""
    return (weights @ values) / weights.sum(axis=1)  # type: ignore[no-any-return]


def harmonic_mean(means: Array) -> Array:
    """Return the harmonic mean of each row of means, shape (resamples, measures); 0 where one of them is."""
    import numpy as np

    with np.errstate(divide="ignore"):
        found: Array = means.shape[1] / (1 / means).sum(axis=1)
    return found


def ks_distance(values: Array, weights: Array) -> Array:
    """Return the two-sample Kolmogorov-Smirnov distance between two measurements of the same items.

    Args:
        values: Shape (items, 2), one column for each of the two models.
        weights: Shape (resamples, items).
    """
    import numpy as np

    joined = np.concatenate([values[:, 0], values[:, 1]])
    order = np.argsort(joined, kind="stable")
    ends_a_tie = np.append(joined[order][1:] != joined[order][:-1], True)
    steps = np.concatenate([weights, -weights], axis=1)[:, order]
    gaps = np.abs(np.cumsum(steps, axis=1))[:, ends_a_tie]
    return gaps.max(axis=1) / weights.sum(axis=1)  # type: ignore[no-any-return]


def bootstrap_by_person(
    values: Values,
    persons: Sequence[Hashable],
    statistic: Statistic = weighted_mean,
    seed: int = 0,
    resamples: int = 1000,
    level: float = 0.95,
) -> tuple[float, float] | None:
    """Return the percentile interval of a statistic when people are drawn again with their records.

    Args:
        values: One row for each record; paired measurements are columns of one row.
        persons: Whose record each row is.
        statistic: A function of values and weights with one answer for each row of weights.
        seed: Of the resampling.
        resamples: How many times the people are drawn.
        level: The interval's coverage.

    Returns:
        `(low, high)`, or None where fewer than two people or a NaN leave nothing to resample.
    """
    import numpy as np

    rows, owners = np.asarray(values, dtype=float), number_people(persons)
    if count_people(persons) < 2 or np.isnan(rows).any():
        return None
    counts = _draw(count_people(persons), np.random.default_rng(seed), resamples)
    return percentiles(statistic(rows, counts[:, owners]), level)


def resample_auc_by_person(
    positives: Array,
    positive_persons: Sequence[Hashable],
    negatives: Array,
    negative_persons: Sequence[Hashable],
    seed: int = 0,
    resamples: int = 1000,
) -> Array | None:
    """Return the AUC of every score when people on both sides are drawn again with their records.

    Args:
        positives: Shape (items, scores): several scores of the same records stay paired.
        positive_persons: Whose record each row is.
        negatives: The other side, with the same columns.
        negative_persons: Whose record each of those rows is.
        seed: Of the resampling.
        resamples: How many times the people are drawn.

    Returns:
        Shape (resamples, scores), for `percentiles`; None where a side has fewer than two people or a score is NaN.
    """
    import numpy as np

    owners, others = number_people(positive_persons), number_people(negative_persons)
    people = count_people(positive_persons), count_people(negative_persons)
    if min(people) < 2 or np.isnan(positives).any() or np.isnan(negatives).any():
        return None
    generator = np.random.default_rng(seed)
    drawn, against = (_draw(size, generator, resamples) for size in people)
    pairs = (drawn @ np.bincount(owners)) * (against @ np.bincount(others))
    columns = zip(positives.T, negatives.T, strict=True)
    won = [_wins_by_person(column, owners, other, others) for column, other in columns]
    return np.stack([((drawn @ wins) * against).sum(axis=1) / pairs for wins in won], axis=1)


def resample_difference_by_person(
    values: Values,
    persons: Sequence[Hashable],
    others: Values,
    other_persons: Sequence[Hashable],
    seed: int = 0,
    resamples: int = 1000,
) -> Array | None:
    """Return the difference of two groups' means when people on both sides are drawn again with their records.

    Args:
        values: One for each record of the first group.
        persons: Whose record each is.
        others: The second group's, which are subtracted.
        other_persons: Whose record each of those is.
        seed: Of the resampling.
        resamples: How many times the people are drawn.

    Returns:
        Shape (resamples,), for `percentiles`; None where a side has fewer than two people or a value is NaN.
    """
    import numpy as np

    generator, means = np.random.default_rng(seed), []
    for given, whose in ((values, persons), (others, other_persons)):
        found, owners = np.asarray(given, dtype=float), number_people(whose)
        if count_people(whose) < 2 or np.isnan(found).any():
            return None
        means.append(weighted_mean(found, _draw(count_people(whose), generator, resamples)[:, owners]))
    return means[0] - means[1]


def clopper_pearson(successes: int, trials: int, level: float = 0.95) -> tuple[float, float]:
    """Return the exact interval of a success rate (Clopper and Pearson, 1934); nothing tried gives [0, 1].

    Its upper end alone is a one-sided bound at level `(1 + level) / 2`.
    """
    from scipy.stats import beta

    tail = (1 - level) / 2
    low = float(beta.ppf(tail, successes, trials - successes + 1)) if successes else 0.0
    high = float(beta.ppf(1 - tail, successes + 1, trials - successes)) if successes < trials else 1.0
    return low, high


def percentiles(answers: Array, level: float = 0.95) -> tuple[float, float] | None:
    """Return the central interval of resampled answers, or None if one of them is not finite."""
    import numpy as np

    if not np.isfinite(answers).all():
        return None
    low, high = np.quantile(answers, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def number_people(persons: Sequence[Hashable]) -> Array:
    """Number the people 0, 1, … in the order they appear, and return each record's number."""
    import numpy as np

    numbers: dict[Hashable, int] = {}
    return np.array([numbers.setdefault(person, len(numbers)) for person in persons], dtype=int)


def count_people(persons: Sequence[Hashable]) -> int:
    """Return how many different people there are."""
    return len(set(persons))


def _wins(values: Array, others: Array) -> Array:
    """Return for each value how many of the sorted `others` it beats, a tie being half a win."""
    import numpy as np

    return (np.searchsorted(others, values, "left") + np.searchsorted(others, values, "right")) / 2.0


def _wins_by_person(values: Array, owners: Array, others: Array, other_owners: Array) -> Array:
    """Return how many pairs each person wins against each person of the other side."""
    import numpy as np

    people = range(other_owners.max() + 1)
    against = [np.bincount(owners, _wins(values, np.sort(others[other_owners == one]))) for one in people]
    return np.stack(against, axis=1)


def _draw(people: int, generator: Generator, resamples: int) -> Array:
    """Return how often each person is drawn in each resample, shape (resamples, people)."""
    import numpy as np

    return generator.multinomial(people, np.full(people, 1 / people), size=resamples).astype(float)


def perplexity(losses: Array, weights: Array) -> Array:
    """Return exp of the loss for each token, shape (resamples,): a statistic for `bootstrap_by_person`.

    Args:
        losses: The summed loss of each text in nats, and its number of tokens, shape (texts, 2).
        weights: How often each text is drawn, shape (resamples, texts).
    """
    import numpy as np

    sums: Array = weights @ losses
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):  # no tokens: NaN, which no policy lets pass
        found: Array = np.exp(sums[:, 0] / sums[:, 1])
    return found


def perplexity_ratio(losses: Array, weights: Array) -> Array:
    """Return the perplexity of the first two columns over that of the last two, on the same resamples."""
    ratio: Array = perplexity(losses[:, :2], weights) / perplexity(losses[:, 2:], weights)
    return ratio
