"""Run prompts with noise on their subjects, and put parts of the clean run back at one token of each.

What is put back at a token reaches neither earlier tokens nor earlier blocks, so only the tail from there on is run
again (see `tails`), for many prompts, tokens and draws of noise at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from amends_editing.knowing import Known
from amends_editing.structure import Anatomy, first_of
from amends_editing.tails import Row, Tails, prepare


@dataclass(frozen=True, eq=False)
class Clean:
    """What a model computes for one prompt without noise.

    Args:
        known: The fact that it asks for.
        embeddings: Of its subject's tokens, shape (subject tokens, width).
        blocks: What every block puts out, shape (layers, tokens, width).
        mlps: What every MLP output projection puts out, shape (layers, tokens, width).
        likely: The answer's probability.
    """

    known: Known
    embeddings: Tensor = field(repr=False)
    blocks: Tensor = field(repr=False)
    mlps: Tensor = field(repr=False)
    likely: float


@torch.no_grad()
def run_clean(anatomy: Anatomy, known: Known) -> Clean:
    """Run a prompt as it is."""
    embedding = anatomy.model.get_input_embeddings()
    projections = [projection.module for projection in anatomy.projections]
    tokens = torch.tensor([known.row.tokens], device=anatomy.device)
    with collecting([embedding, *anatomy.blocks, *projections]) as seen:
        logits = anatomy.model(input_ids=tokens, use_cache=False).logits
    flat = {module: out.reshape(tokens.shape[1], -1) for module, out in seen.items()}
    blocks, mlps = (torch.stack([flat[part] for part in parts]) for parts in (anatomy.blocks, projections))
    subject = flat[embedding][known.first : known.row.subject + 1]
    return Clean(known, subject, blocks, mlps, float(logits[0, -1].float().softmax(-1)[known.answer]))


@dataclass(frozen=True, eq=False)
class Draw:
    """One draw of noise on one prompt, and the token at which something will be put back.

    Args:
        clean: The prompt without noise.
        noise: What is added to its subject's embeddings, shape (subject tokens, width).
        token: From the subject's first token to the prompt's last.
    """

    clean: Clean
    noise: Tensor = field(repr=False)
    token: int

    @property
    def tail(self) -> int:
        """How many tokens what is put back can reach."""
        return len(self.clean.known.row.tokens) - self.token


class Corrupted:
    """Draws of one tail length, run with their noise.

    Args:
        anatomy: The model's parts.
        draws: They.
    """

    @torch.no_grad()
    def __init__(self, anatomy: Anatomy, draws: Sequence[Draw]) -> None:
        self.anatomy, self.draws = anatomy, draws
        self.answers = torch.tensor([draw.clean.known.answer for draw in draws], device=anatomy.device)
        rows = [Row(draw.clean.known.row.tokens, draw.token) for draw in draws]
        entered: list[Tensor] = []
        with _adding(anatomy, self._noise(rows)), _entering(anatomy.blocks[0], entered):
            self.tails: Tails = prepare(anatomy, rows, -1)  # from before the first block
        entering = entered[0][:, -draws[0].tail :].clone()
        with collecting(anatomy.blocks) as seen:
            self.lost = self.likely(-1, entering)
        self.outputs = {-1: entering, **{layer: seen[block] for layer, block in enumerate(anatomy.blocks)}}

    def _noise(self, rows: Sequence[Row]) -> Tensor:
        """Return what is added to the embeddings of rows whose tails begin in one column."""
        start = max(row.subject for row in rows)
        noise = torch.zeros(len(rows), start + rows[0].tail, self.draws[0].noise.shape[-1], device=self.anatomy.device)
        for number, (row, draw) in enumerate(zip(rows, self.draws, strict=True)):
            first = start - row.subject + draw.clean.known.first
            noise[number, first : first + len(draw.noise)] = draw.noise
        return noise

    @torch.no_grad()
    def likely(self, layer: int, hidden: Tensor) -> Tensor:
        """Return each answer's probability once a block has put this out, shape (draws,).

        Args:
            layer: Which block; -1 for what enters the first.
            hidden: From each draw's token on, shape (draws, tail, width).
        """
        tails = replace(self.tails, layer=layer, calls=self.tails.calls[layer + 1 :])
        logits = self.anatomy.logits(tails.run(hidden)[:, -1])
        return logits.float().softmax(-1).gather(-1, self.answers[:, None])[:, 0]

    def with_block(self, layer: int) -> Tensor:
        """Return each answer's probability with one block's clean output put back, shape (draws,)."""
        hidden = self.outputs[layer].clone()
        hidden[:, 0] = torch.stack([draw.clean.blocks[layer, draw.token] for draw in self.draws])
        return self.likely(layer, hidden)

    def with_mlps(self, layers: range) -> Tensor:
        """Return each answer's probability with the clean outputs of some MLPs put back, shape (draws,)."""
        with ExitStack() as stack:
            for layer in layers:
                clean = torch.stack([draw.clean.mlps[layer, draw.token] for draw in self.draws])
                stack.enter_context(_putting(self.anatomy.projections[layer].module, clean))
            return self.likely(layers[0] - 1, self.outputs[layers[0] - 1])


@contextmanager
def collecting(modules: Sequence[nn.Module]) -> Iterator[dict[nn.Module, Tensor]]:
    """Collect what modules put out while the context lasts."""
    seen: dict[nn.Module, Tensor] = {}
    hooks = [module.register_forward_hook(lambda one, _, out: seen.update({one: first_of(out)})) for module in modules]
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()


@contextmanager
def _hooked(hook: Any) -> Iterator[None]:
    try:
        yield
    finally:
        hook.remove()


def _adding(anatomy: Anatomy, noise: Tensor) -> AbstractContextManager[None]:
    """Add noise to the embeddings while the context lasts."""
    embedding = anatomy.model.get_input_embeddings()
    return _hooked(embedding.register_forward_hook(lambda _, __, out: out + noise.to(out)))


def _entering(block: nn.Module, into: list[Tensor]) -> AbstractContextManager[None]:
    """Keep what enters a block, however it is called, while the context lasts."""

    def keep(_: nn.Module, args: Any, kwargs: Any) -> None:
        into.append(args[0] if args else kwargs["hidden_states"])

    return _hooked(block.register_forward_pre_hook(keep, with_kwargs=True))


def _putting(module: nn.Module, clean: Tensor) -> AbstractContextManager[None]:
    """Replace what a projection puts out at the first token of each tail, shape (draws, width)."""

    def put(_: nn.Module, __: Any, out: Tensor) -> Tensor:
        changed = out.reshape(len(clean), -1, clean.shape[-1]).clone()
        changed[:, 0] = clean
        return changed.reshape(out.shape)

    return _hooked(module.register_forward_hook(put))
