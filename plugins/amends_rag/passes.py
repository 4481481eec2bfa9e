"""Run documents through a model, each alone, in windows that overlap by half, so that every token has a context."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from amends import BadInput
from amends.serving.encoding import beginning
from amends_rag.anatomy import reading


@dataclass(frozen=True)
class Window:
    """A part of a document that is run at once.

    Args:
        ids: Its tokens.
        fresh: From which place on it is new; what comes before is context that an earlier window has read.
    """

    ids: tuple[int, ...]
    fresh: int


def tokens_of(tokenizer: Any, text: str) -> list[int]:
    """Return a document's tokens, after the one that this tokenizer itself puts before a text."""
    return [*beginning(tokenizer), *tokenizer(text.strip(), add_special_tokens=False)["input_ids"]]


def windows(ids: Sequence[int], length: int) -> Iterator[Window]:
    """Yield windows of at most so many tokens; together their fresh parts are the whole, each token once."""
    step = max(length // 2, 1)
    end = min(length, len(ids))
    yield Window(tuple(ids[:end]), 0)
    while end < len(ids):
        start, fresh = min(end + step, len(ids)) - length, end
        end = min(end + step, len(ids))
        yield Window(tuple(ids[max(start, 0) : end]), fresh - max(start, 0))


@torch.inference_mode()
def states_of(model: Any, modules: Sequence[nn.Module], window: Window) -> list[Tensor]:
    """Return what enters each of some modules at a window's fresh places, shape (places, width) each."""
    seen: list[list[Tensor]] = [[] for _ in modules]
    with ExitStack() as stack:
        for module, into in zip(modules, seen, strict=True):
            stack.enter_context(reading(module, into))
        model(input_ids=torch.tensor([window.ids], device=model.device), use_cache=False)
    return [into[0].reshape(len(window.ids), -1)[window.fresh :].float().cpu() for into in seen]


def halved(states: Tensor) -> Tensor:
    """Return states in float16, in which they are kept.

    Raises:
        BadInput: One is no number, or larger than float16 can say.
    """
    found = states.half()
    if not bool(found.isfinite().all()):
        raise BadInput(
            "a state of this model is no number or too large for float16, in which states are kept; take rag.context, "
            "which keeps none"
        )
    return found
