"""How a low-rank change is trained, and what no setting may be."""

from __future__ import annotations

from dataclasses import dataclass

from amends import BadInput


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


def check_positive(what: str, **given: float) -> None:
    """Refuse a setting that is not above zero.

    Raises:
        BadInput: One is not.
    """
    for name, value in given.items():
        if not value > 0:
            raise BadInput(f"{name} is {value}; {what} needs it above zero")
