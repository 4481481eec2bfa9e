"""How a low-rank change is trained."""

from __future__ import annotations

from dataclasses import dataclass

from amends.operation.parameters import check_positive


@dataclass(frozen=True)
class Settings:
    """How to train a low-rank change.

    Args:
        steps: Steps of AdamW.
        lr: Its learning rate.
        rank: Of the change.
        layers: How many top blocks are changed.
        batch: Pairs in a step.
    """

    steps: int
    lr: float
    rank: int
    layers: int
    batch: int

    def __post_init__(self) -> None:
        """Refuse settings that train nothing."""
        check_positive("training", **vars(self))
