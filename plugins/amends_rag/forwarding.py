"""Stand around a model's forward pass while a context lasts; several stand around each other in order."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

Forward = Callable[..., Any]


@contextmanager
def around(model: Any, stand: Callable[[Forward, tuple[Any, ...], dict[str, Any]], Any]) -> Iterator[None]:
    """Let `stand(forward, args, kwargs)` answer in place of a model's forward pass.

    A hook would do for one such part; but of two, each must see just the passes that it makes itself, and those of a
    hook of the whole model cannot be told from the others'.

    Args:
        model: A `PreTrainedModel`.
        stand: Calls `forward(*args, **kwargs)` as often as it likes, and returns an output like its own.
    """
    inner, is_nested = model.forward, "forward" in vars(model)

    @functools.wraps(inner)
    def forward(*args: Any, **kwargs: Any) -> Any:
        return stand(inner, args, kwargs)

    model.forward = forward
    try:
        yield
    finally:
        if is_nested:
            model.forward = inner
        else:
            del model.forward
