"""Go on with a method that was killed: what it changes, its optimiser, and the best state that it had come across.

What is not kept is worked out again: the records' activations, the gauge, the loss and the order of the steps follow
from what a checkpoint is bound to.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from amends import Task

from ..plan import base_digest
from ..points import Halfway, give_back, taken
from .adapting import Change

if TYPE_CHECKING:
    from .gauge import Nearest
    from .material import Material, Settings

BEST = "best/"


class Resumable:
    """One run of a method.

    Args:
        task: Whose scratch directory keeps the checkpoint.
        material: What the method works with.
        settings: How it works.
        change: What it trains.
        optimiser: With what, if by steps.
        best: What remembers the best state, where states are looked at in between.
    """

    def __init__(
        self,
        task: Task,
        material: Material,
        settings: Settings,
        change: Change,
        optimiser: torch.optim.Optimizer | None = None,
        best: Nearest[list[Tensor]] | None = None,
    ) -> None:
        self._optimiser = optimiser
        self._weights = {f"{place:04d}": tensor for place, tensor in enumerate(change.parameters())}
        self._best = best
        aim = [] if best is None else best.aim
        self._halfway = Halfway(task.scratch / "unlearning", {**binding(task, material, settings), "aim": aim})

    def begin(self) -> int:
        """Take over what a killed attempt at just this kept, and return how many steps are behind."""
        point = self._halfway.found()
        if point is None:
            return 0
        give_back(self._weights, self._optimiser, point.tensors)
        if self._best is not None:
            device = self._best.state[0].device
            state = [point.tensors[name].to(device) for name in sorted(point.tensors) if name.startswith(BEST)]
            self._best.state, self._best.distance = state, tuple(point.more["distance"])
            self._best.reading = tuple(point.more["reading"])
        return point.position

    def keep(self, position: int) -> None:
        """Keep everything as it is after so many steps."""
        tensors, more = taken(self._weights, self._optimiser), {}
        if self._best is not None:
            tensors |= {f"{BEST}{place:04d}": tensor for place, tensor in enumerate(self._best.state)}
            more = {"distance": list(self._best.distance), "reading": list(self._best.reading)}
        self._halfway.keep(position, tensors, more)


def binding(task: Task, material: Material, settings: Settings) -> dict[str, object]:
    """Return all that a method's run depends on besides the level that it aims at; the stack and threads with it."""
    assert task.source is not None
    models = {"source": task.source, **task.models}
    records = [[[row["id"], row["prompt"], row["answer"]] for row in rows] for rows in material.rows]
    return {
        "models": {name: base_digest(path) for name, path in models.items()},
        "records": records,
        "settings": asdict(settings),
        "seed": material.seed,
        "stack": [torch.__version__, torch.get_num_threads(), task.device],
    }
