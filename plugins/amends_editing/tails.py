"""Run only what an edit changes: from its layer up, and from the subject's last token on; and what leads up to it.

Whatever is added to the residual stream at the subject's last token of layer L reaches neither earlier tokens nor
earlier layers. So each row is run once as it is; after that, only the *tail* (the subject's last token and what
follows) runs again, through the blocks above L, on the keys and values that the earlier tokens left behind.
The blocks are the model's own, called with the arguments that the model itself gave them, cut to the tail.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from transformers import Cache, DynamicCache

from amends_editing.structure import Anatomy, accepts, first_of


@dataclass(frozen=True, repr=False)
class Row:
    """One text as tokens.

    Args:
        tokens: All of them.
        subject: Index of the subject's last token, where the edit happens.
        targets: How many tokens at the end are to be predicted; 0 where the last position itself is looked at.
    """

    tokens: tuple[int, ...]
    subject: int
    targets: int = 0

    @property
    def tail(self) -> int:
        """How many tokens run again: from the subject's last token on, without the last target, which feeds nothing."""
        return len(self.tokens) - self.subject - (1 if self.targets else 0)


Call = tuple[tuple[Any, ...], dict[str, Any]]
"""What a block was called with besides the hidden states."""


class _Held(Cache):  # type: ignore[misc]  # transformers is followed by no types here
    """Keys and values of the tokens before the tail; each layer's are put before what a block computes."""

    def __init__(self, before: Mapping[int, tuple[Tensor, Tensor]]) -> None:
        super().__init__(layers=[])
        self.before = before

    def update(self, key_states: Tensor, value_states: Tensor, layer_idx: int, *_: Any, **__: Any) -> Any:
        """Return the whole row's keys and values for one layer."""
        keys, values = self.before[layer_idx]
        return torch.cat([keys, key_states], dim=2), torch.cat([values, value_states], dim=2)


@dataclass(eq=False)
class Leading:
    """What leads up to the subject's last token: rows cut off there, run through the edited blocks one by one.

    Editing block l changes what the blocks after it see, so each block's keys are read after the one before it was
    edited; `onward` runs just the edited blocks, from where the last run of each began.

    Args:
        anatomy: The model's parts.
        first: The first edited layer.
        entering: What enters block `first`, shape (rows, tokens, width).
        calls: What each block from `first` on is called with.
    """

    anatomy: Anatomy
    first: int
    entering: Tensor
    calls: list[Call] = field(repr=False)

    @torch.no_grad()
    def onward(self, until: int) -> tuple[dict[int, Tensor], Tensor]:
        """Run from block `first` to block `until`.

        Returns:
            What goes into each projection at the subject's last token, by layer, shape (rows, inner), and what block
            `until` puts out there, shape (rows, width).
        """
        hidden = self.entering
        inner: dict[int, Tensor] = {}
        for layer in range(self.first, until + 1):
            args, kwargs = self.calls[layer - self.first]
            with _keeping(self.anatomy, layer, hidden.shape[:2], inner):
                hidden = first_of(self.anatomy.blocks[layer](hidden, *args, **kwargs))
        return {layer: found[:, -1] for layer, found in inner.items()}, hidden[:, -1]

    def of(self, rows: Tensor) -> Leading:
        """Return what leads up to some rows alone."""
        calls = [_rows_of(call, rows, None) for call in self.calls]
        return Leading(self.anatomy, self.first, self.entering[rows], calls)

    @torch.no_grad()
    def advance(self) -> None:
        """Run block `first` for good, as it is now, and begin from the next."""
        args, kwargs = self.calls[0]
        hidden = first_of(self.anatomy.blocks[self.first](self.entering, *args, **kwargs))
        self.entering, self.calls, self.first = hidden, self.calls[1:], self.first + 1


@dataclass(eq=False)
class Tails:
    """Rows of about one tail length, ready to run again from a layer.

    Args:
        anatomy: The model's parts.
        layer: The edit happens in what this block puts out.
        hidden: What it put out, from the subject's last token on, shape (rows, tail, width).
        targets: The tokens to predict at each place of the tail, -100 elsewhere, shape (rows, tail).
        last: Index of each row's last place within the tail, shape (rows,).
        calls: What each block above the layer is called with.
        held: Keys and values of the earlier tokens.
        leading: What leads up to the subject's last token, where it was asked for.
    """

    anatomy: Anatomy
    layer: int
    hidden: Tensor
    targets: Tensor
    last: Tensor
    calls: list[Call] = field(repr=False)
    held: _Held = field(repr=False)
    leading: Leading | None = field(default=None, repr=False)

    @property
    def ends(self) -> Tensor:
        """Index within the tail of each prompt's end: where its first target is predicted, or else its last place."""
        return self.last - (self.targets >= 0).sum(1).clamp(min=1) + 1

    def run(self, hidden: Tensor, rows: Tensor | None = None) -> Tensor:
        """Run the blocks above the layer on a tail; returns the last block's output, shape (rows, tail, width).

        Args:
            hidden: What block `layer` shall have put out.
            rows: Which rows these are; all of them when None.
        """
        held: Any = self.held
        if rows is not None:
            held = _Held({layer: (k[rows], v[rows]) for layer, (k, v) in self.held.before.items()})
        for block, (args, kwargs) in zip(self.anatomy.blocks[self.layer + 1 :], self.calls, strict=True):
            more, named = _rows_of((args, kwargs), rows, held)
            hidden = first_of(block(hidden, *more, **named))
        return hidden


def _rows_of(value: Any, rows: Tensor | None, held: Any) -> Any:
    if isinstance(value, Cache):
        return held
    if isinstance(value, dict):
        return {name: _rows_of(part, rows, held) for name, part in value.items()}
    if rows is not None and isinstance(value, Tensor) and value.ndim > 1 and value.shape[0] > 1:
        return value[rows]
    if isinstance(value, tuple):
        return tuple(_rows_of(part, rows, held) for part in value)
    return value


def _from(value: Any, start: int, length: int) -> Any:
    """Cut what a block is given to the places from `start` on: masks, positions and rotations; the rest stays."""
    if isinstance(value, tuple):
        return tuple(_from(part, start, length) for part in value)
    if not isinstance(value, Tensor):
        return value
    if value.ndim == 4 and value.shape[-2] == length:
        return value[:, :, start:]
    if value.ndim == 1 and value.shape[0] == length:
        return value[start:]
    if value.ndim in (2, 3) and value.shape[1] == length:
        return value[:, start:]
    return value


def _until(value: Any, end: int, length: int) -> Any:
    """Cut what a block is given to the places before `end`."""
    if isinstance(value, tuple):
        return tuple(_until(part, end, length) for part in value)
    if isinstance(value, Cache):
        return None
    if not isinstance(value, Tensor):
        return value
    if value.ndim == 4 and value.shape[-2] == length:
        return value[:, :, :end, :end]
    if value.ndim == 1 and value.shape[0] == length:
        return value[:end]
    if value.ndim in (2, 3) and value.shape[1] == length:
        return value[:, :end]
    return value


@torch.no_grad()
def prepare(
    anatomy: Anatomy, rows: Sequence[Row], layer: int, first: int | None = None, leading: int | None = None
) -> Tails:
    """Run rows once, as they are, and keep what their tails need.

    Args:
        anatomy: The model's parts.
        rows: Texts, best of about one length.
        layer: Where the edit happens: the last edited layer.
        first: The first edited layer, where what leads up to the subject's last token is wanted too.
        leading: Of how many rows, counted from the first, it is wanted; of all of them when None.
    """
    start = max(row.subject for row in rows)
    tail = max(row.tail for row in rows)
    tokens, mask, targets = _packed(anatomy, rows, start, tail)
    last = torch.tensor([row.tail - 1 for row in rows], device=anatomy.device)
    begin = layer + 1 if first is None else first
    seen = _record(anatomy, tokens, mask, layer, begin)
    length = start + tail
    above = seen.calls[layer + 1 - begin :]
    calls = [(_from(args, start, length), {name: _from(v, start, length) for name, v in kwargs.items()})
             for args, kwargs in above]  # fmt: skip
    before = {
        number: (seen.cache.layers[number].keys[:, :, :start], seen.cache.layers[number].values[:, :, :start])
        for number in range(layer + 1, len(anatomy.blocks))
    }
    led = None if first is None else _leading(anatomy, seen, first, layer, start + 1, length)
    if led is not None and leading is not None:
        led = led.of(torch.arange(leading, device=anatomy.device))
    return Tails(anatomy, layer, seen.hidden[:, start:].clone(), targets, last, calls, _Held(before), led)


def _leading(anatomy: Anatomy, seen: _Seen, first: int, layer: int, end: int, length: int) -> Leading:
    calls = [(_until(args, end, length), {name: _until(v, end, length) for name, v in kwargs.items()} | NO_CACHE)
             for args, kwargs in seen.calls[: layer + 1 - first]]  # fmt: skip
    return Leading(anatomy, first, seen.entering[:, :end].clone(), calls)


NO_CACHE = {"use_cache": False}


def _packed(anatomy: Anatomy, rows: Sequence[Row], start: int, tail: int) -> tuple[Tensor, Tensor, Tensor]:
    """Put the subjects' last tokens of all rows into one column: tokens, mask and targets."""
    tokens = torch.zeros(len(rows), start + tail, dtype=torch.long)
    mask = torch.zeros_like(tokens)
    targets = torch.full((len(rows), tail), -100)
    for number, row in enumerate(rows):
        first = start - row.subject
        shown = row.tokens[: row.subject + row.tail]
        tokens[number, first : first + len(shown)] = torch.tensor(shown)
        mask[number, first : first + len(shown)] = 1
        if row.targets:
            targets[number, row.tail - row.targets : row.tail] = torch.tensor(row.tokens[-row.targets :])
    return tokens.to(anatomy.device), mask.to(anatomy.device), targets.to(anatomy.device)


@dataclass
class _Seen:
    cache: Any
    hidden: Tensor = field(default_factory=lambda: torch.empty(0))
    entering: Tensor = field(default_factory=lambda: torch.empty(0))
    calls: list[Call] = field(default_factory=list)

    def note(self, _: nn.Module, args: Any, kwargs: Any) -> None:
        """Keep what a block was called with, and what entered the first of them."""
        if not self.calls:
            self.entering = args[0] if args else kwargs["hidden_states"]
        without = {name: value for name, value in kwargs.items() if name != "hidden_states"}
        self.calls.append((args[1:] if args else (), without))


def _record(anatomy: Anatomy, tokens: Tensor, mask: Tensor, layer: int, begin: int) -> _Seen:
    seen = _Seen(DynamicCache())
    hooks = [anatomy.blocks[layer].register_forward_hook(lambda _, __, out: setattr(seen, "hidden", first_of(out)))]
    hooks += [block.register_forward_pre_hook(seen.note, with_kwargs=True) for block in anatomy.blocks[begin:]]
    more: dict[str, Any] = {}
    if accepts(anatomy.model, "position_ids"):
        more["position_ids"] = (mask.cumsum(1) - 1).clamp(min=0)
    if accepts(anatomy.model, "logits_to_keep"):
        more["logits_to_keep"] = 1
    try:
        anatomy.model(input_ids=tokens, attention_mask=mask, past_key_values=seen.cache, use_cache=True, **more)
    finally:
        for hook in hooks:
            hook.remove()
    return seen


@contextmanager
def _keeping(anatomy: Anatomy, layer: int, shape: Sequence[int], into: dict[int, Tensor]) -> Iterator[None]:
    """Keep what goes into a layer's projection while the context lasts."""

    def keep(_: nn.Module, args: Any) -> None:
        into[layer] = args[0].reshape(*shape, -1)

    hook = anatomy.projections[layer].module.register_forward_pre_hook(keep)
    try:
        yield
    finally:
        hook.remove()
