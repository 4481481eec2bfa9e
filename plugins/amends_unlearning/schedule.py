"""Say which records each optimiser step of a monolithic fine-tune takes, such that nobody's step depends on others.

The number of steps is fixed before any record is seen. In each epoch a keyed hash of the record's id alone picks its
step; so taking records out moves nobody else's, and training without them is the same schedule with their places empty.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from amends import BadInput
from amends.records import digest_of

from .lora import seed_of


@dataclass(frozen=True)
class Step:
    """One optimiser step.

    Args:
        number: Its place in the whole training.
        ids: The records that it takes, in order; none where nobody's hash fell here.
        entry: What the write-ahead log says of it.
    """

    number: int
    ids: tuple[str, ...] = field(repr=False)
    entry: Mapping[str, Any] = field(repr=False)

    @property
    def chain(self) -> str:
        """Digest of all that training depends on up to and with this step: equal chains, equal weights after it."""
        return str(self.entry["chain"])

    @property
    def lr(self) -> float:
        """Its learning rate."""
        return float(self.entry["lr"])

    @property
    def seed(self) -> int:
        """Seed of what it draws."""
        return int(self.entry["seed"])


@dataclass(frozen=True)
class Schedule:
    """A way to spread records over a fixed number of steps.

    Args:
        salt: Key of the hashes; a rebuild keeps it.
        epochs: How often each record is taken.
        steps: Optimiser steps in an epoch.
    """

    salt: str
    epochs: int
    steps: int

    def __post_init__(self) -> None:
        """Refuse a schedule without steps.

        Raises:
            BadInput: There is no epoch or no step.
        """
        if self.epochs < 1 or self.steps < 1:
            raise BadInput(f"{self.epochs} epochs of {self.steps} steps train nothing; ask for one or more of both")

    @property
    def total(self) -> int:
        """How many steps there are, empty ones with them."""
        return self.epochs * self.steps

    def step_of(self, epoch: int, identity: str) -> int:
        """Return the number of the step that takes a record in an epoch."""
        drawn = hmac.digest(self.salt.encode(), f"step:{epoch}:{identity}".encode(), hashlib.sha256)
        return epoch * self.steps + int.from_bytes(drawn[:8], "big") % self.steps

    def name_of(self, identity: str) -> str:
        """Return what the log calls a record: a keyed hash of its id."""
        return hmac.digest(self.salt.encode(), f"record:{identity}".encode(), hashlib.sha256).hex()[:32]

    def lay_out(
        self, contents: Mapping[str, Any], root: Mapping[str, Any], lr: Callable[[int], float], seed: int
    ) -> list[Step]:
        """Return every step.

        Args:
            contents: What each record says, by its id, as JSON.
            root: All else that training depends on.
            lr: Learning rate by the number of the step.
            seed: What the steps' own seeds are derived from.
        """
        taken: list[list[str]] = [[] for _ in range(self.total)]
        for identity in sorted(contents):
            for epoch in range(self.epochs):
                taken[self.step_of(epoch, identity)].append(identity)
        chain, steps = self.beginning(root), []
        for number, ids in enumerate(taken):
            entry: dict[str, Any] = {"step": number, "lr": lr(number), "seed": seed_of(f"{seed}:step:{number}")}
            entry["records"] = [self.name_of(identity) for identity in ids]
            chain = digest_of([chain, entry, [[identity, contents[identity]] for identity in ids]])
            steps.append(Step(number, tuple(ids), {**entry, "chain": chain}))
        return steps

    def beginning(self, root: Mapping[str, Any]) -> str:
        """Return the chain before the first step."""
        return digest_of({"root": dict(root), "epochs": self.epochs, "steps": self.steps, "salt": self.salt})


def marks(steps: int, wanted: int) -> tuple[int, ...]:
    """Return after how many steps a lineage's checkpoints are taken: evenly within the first epoch.

    A record is in every epoch, so a checkpoint of a later one is clean of nobody.
    """
    return tuple(sorted({steps * number // (wanted + 1) for number in range(1, wanted + 1)} - {0}))
