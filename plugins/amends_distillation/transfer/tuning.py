"""How a student is tuned."""

from __future__ import annotations

from dataclasses import dataclass

from amends import BadInput


@dataclass(frozen=True)
class Tuning:
    """How to tune.

    Args:
        steps: Steps of AdamW; 0 tunes nothing.
        lr: Its learning rate, which falls linearly to a tenth.
        batch: Samples in a step.
    """

    steps: int
    lr: float
    batch: int

    def __post_init__(self) -> None:
        """Refuse settings that nothing can be tuned with.

        Raises:
            BadInput: One is too small.
        """
        if self.steps < 0 or not self.lr > 0 or self.batch < 1:
            raise BadInput(
                f"steps is {self.steps}, lr {self.lr} and batch {self.batch}; steps cannot be below zero, the other "
                "two must be above it"
            )
