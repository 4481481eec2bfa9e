"""Run only what an edit changes: from its layer up, and from the subject's last token on.

Whatever is added to the residual stream at the subject's last token of layer L reaches neither earlier tokens nor
earlier layers. So each row is run once as it is; after that, only the *tail* (the subject's last token and what
follows) runs again, through the blocks above L, on the keys and values that the earlier tokens left behind.
The blocks are the model's own, called with the arguments that the model itself gave them, cut to the tail.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from transformers import Cache, DynamicCache

from amends_editing.structure import Anatomy, accepts, first_of


@dataclass(frozen=True)
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


class _Held(Cache):
    """Keys and values of the tokens before the tail; each layer's are put before what a block computes."""

    def __init__(self, before: Mapping[int, tuple[Tensor, Tensor]]) -> None:
        super().__init__(layers=[])
        self.before = before

    def update(self, key_states: Tensor, value_states: Tensor, layer_idx: int, *_: Any, **__: Any) -> Any:
        """Return the whole row's keys and values for one layer."""
        keys, values = self.before[layer_idx]
        return torch.cat([keys, key_states], dim=2), torch.cat([values, value_states], dim=2)


@dataclass(eq=False)
class Tails:
    """Rows of about one tail length, ready to run again from a layer.

    Args:
        anatomy: The model's parts.
        layer: The edit happens in what this block puts out.
        hidden: What it put out, from the subject's last token on, shape (rows, tail, width).
        inner: What went into the MLP output projections of the layers asked for, at the subject's last token, by layer,
            shape (rows, inner).
        targets: The tokens to predict at each place of the tail, -100 elsewhere, shape (rows, tail).
        last: Index of each row's last place within the tail, shape (rows,).
    """

    anatomy: Anatomy
    layer: int
    hidden: Tensor
    inner: dict[int, Tensor]
    targets: Tensor
    last: Tensor
    calls: list[tuple[tuple[Any, ...], dict[str, Any]]] = field(repr=False)
    held: _Held = field(repr=False)

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
            cut = {name: _rows_of(value, rows, held) for name, value in kwargs.items()}
            more = tuple(_rows_of(value, rows, held) for value in args)
            hidden = first_of(block(hidden, *more, **cut))
        return hidden


def _rows_of(value: Any, rows: Tensor | None, held: Any) -> Any:
    if isinstance(value, Cache):
        return held
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


@torch.no_grad()
def prepare(anatomy: Anatomy, rows: Sequence[Row], layer: int, inner: Sequence[int] = ()) -> Tails:
    """Run rows once, as they are, and keep what their tails need.

    Args:
        anatomy: The model's parts.
        rows: Texts, best of about one length.
        layer: Where the edit happens.
        inner: Layers whose projection inputs are wanted too.
    """
    start = max(row.subject for row in rows)
    tail = max(row.tail for row in rows)
    length = start + tail
    tokens = torch.zeros(len(rows), length, dtype=torch.long, device=anatomy.device)
    mask = torch.zeros_like(tokens)
    targets = torch.full((len(rows), tail), -100, device=anatomy.device)
    for number, row in enumerate(rows):
        first = start - row.subject
        shown = row.tokens[: row.subject + row.tail]
        tokens[number, first : first + len(shown)] = torch.tensor(shown, device=anatomy.device)
        mask[number, first : first + len(shown)] = 1
        if row.targets:
            wanted = torch.tensor(row.tokens[-row.targets :], device=anatomy.device)
            targets[number, row.tail - row.targets : row.tail] = wanted
    last = torch.tensor([row.tail - 1 for row in rows], device=anatomy.device)
    seen = _record(anatomy, tokens, mask, layer, inner)
    calls = [(_from(args, start, length), {name: _from(v, start, length) for name, v in kwargs.items()})
             for args, kwargs in seen.calls]  # fmt: skip
    before = {
        number: (seen.cache.layers[number].keys[:, :, :start], seen.cache.layers[number].values[:, :, :start])
        for number in range(layer + 1, len(anatomy.blocks))
    }
    inputs = {number: found[:, start] for number, found in seen.inner.items()}
    return Tails(anatomy, layer, seen.hidden[:, start:].clone(), inputs, targets, last, calls, _Held(before))


@dataclass
class _Seen:
    cache: Any
    hidden: Tensor = field(default_factory=lambda: torch.empty(0))
    inner: dict[int, Tensor] = field(default_factory=dict)
    calls: list[tuple[tuple[Any, ...], dict[str, Any]]] = field(default_factory=list)


def _record(anatomy: Anatomy, tokens: Tensor, mask: Tensor, layer: int, inner: Sequence[int]) -> _Seen:
    seen = _Seen(DynamicCache())
    hooks = [anatomy.blocks[layer].register_forward_hook(lambda _, __, out: setattr(seen, "hidden", first_of(out)))]
    for block in anatomy.blocks[layer + 1 :]:
        hooks.append(block.register_forward_pre_hook(_noting(seen.calls), with_kwargs=True))
    for number in inner:
        hooks.append(anatomy.projections[number].module.register_forward_pre_hook(_keeping(seen.inner, number, tokens)))
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


def _noting(calls: list[Any]) -> Any:
    def note(_: nn.Module, args: Any, kwargs: Any) -> None:
        without = {name: value for name, value in kwargs.items() if name != "hidden_states"}
        calls.append((args[1:] if args else (), without))

    return note


def _keeping(into: dict[int, Tensor], number: int, tokens: Tensor) -> Any:
    def keep(_: nn.Module, args: Any) -> None:
        into[number] = args[0].reshape(*tokens.shape, -1)

    return keep
