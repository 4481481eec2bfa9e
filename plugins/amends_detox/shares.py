"""Shares as readings: what everybody or nobody did has an interval, too."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from amends import Reading
from amends.operation.measuring import mean_reading
from amends.operation.statistics import clopper_pearson

if TYPE_CHECKING:
    from numpy.typing import NDArray

EFFECT = 0.1  # a difference of the share, whose power is stated


def share_reading(
    name: str,
    values: Sequence[float] | NDArray[Any],
    ids: Sequence[Hashable],
    *,
    seed: int,
    unit: str,
    detail: Mapping[str, Any] | None = None,
) -> Reading:
    """Return a share, its interval resampled by record.

    Where no record or every record has it there is nothing to resample; the interval is then the exact one, so that
    none of four never looks as good as none of four hundred.

    Args:
        name: Of the reading.
        values: For each record, or several times for one, a number in [0, 1].
        ids: Whose each value is.
        seed: Of the resampling.
        unit: Of the share.
        detail: More for the report; never a text.
    """
    found = mean_reading(name, values, ids, seed=seed, unit=unit, effect=EFFECT, detail=detail)
    if found.low != found.high or found.value not in (0.0, 1.0):
        return found
    low, high = clopper_pearson(int(found.value) * found.n, found.n)
    return replace(found, low=low, high=high)


def means_by(names: Sequence[str | None], values: Sequence[float]) -> dict[str, float | None]:
    """Return the mean of the values of each name, None where one of them is NaN; those without a name are left out."""
    piles: dict[str, list[float]] = defaultdict(list)
    for name, value in zip(names, values, strict=True):
        if name is not None:
            piles[name].append(value)
    means = {name: sum(pile) / len(pile) for name, pile in sorted(piles.items())}
    return {name: None if math.isnan(mean) else mean for name, mean in means.items()}
