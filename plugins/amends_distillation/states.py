"""Run a model and keep what some of its layers give; the head need not run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from torch import Tensor

from amends_distillation.students import blocks_of


@contextmanager
def caught(model: Any, places: Sequence[int]) -> Iterator[dict[int, Tensor]]:
    """Keep what some layers give in every pass while the context lasts, by their number, shape (batch, places, width).

    Args:
        model: Any causal language model.
        places: Layers, counted from 0; what one gives stands before the next one's norms.
    """
    found: dict[int, Tensor] = {}
    _, blocks = blocks_of(model)

    def keep(place: int) -> Any:
        def hook(module: Any, args: Any, output: Any) -> None:
            found[place] = output[0] if isinstance(output, tuple) else output

        return hook

    hooks = [blocks[place].register_forward_hook(keep(place)) for place in places]
    try:
        yield found
    finally:
        for hook in hooks:
            hook.remove()
