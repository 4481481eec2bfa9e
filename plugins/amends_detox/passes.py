"""Run some of a model's blocks: up to the last that is looked at, or from the first that is changed.

What lies below the changed blocks never changes, so it is run once for each text.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from amends import BadInput
from amends_detox.anatomy import PROBE_TOKENS, Anatomy, reading
from amends_detox.pairs import Tokens

TOLERANCE = 1e-3
SINK = 5.0  # times the median length of a text's states
Heed = Callable[[int, int], None]
"""Told how many texts of how many are done; raises where the task is to stop."""


@dataclass(frozen=True)
class Example:
    """A text as the changed blocks see it.

    Args:
        hidden: What enters the first of them, shape (tokens, width).
        answer: The token ids to predict, at the end of the tokens, shape (answer,).
    """

    hidden: Tensor
    answer: Tensor


@contextmanager
def blocks_from(anatomy: Anatomy, first: int, last: int) -> Iterator[None]:
    """Let the model consist of blocks `first` to `last`, without `last`, while the context lasts."""
    whole = getattr(anatomy.body, anatomy.holder)
    setattr(anatomy.body, anatomy.holder, nn.ModuleList(anatomy.blocks[first:last]))
    try:
        yield
    finally:
        setattr(anatomy.body, anatomy.holder, whole)


@torch.no_grad()
def mean_states(anatomy: Anatomy, texts: Sequence[Tokens], layers: Sequence[int], heed: Heed) -> Tensor:
    """Return what blocks put out, averaged over the tokens of each text that count, float64.

    Tokens other than the first become attention sinks, too, if less often: a state of many times the usual length,
    which a mean of hundreds of texts does not hide. They are left out.

    Returns:
        Shape (layers, texts, width).
    """
    found = []
    with blocks_from(anatomy, 0, max(layers) + 1), reading(anatomy, layers) as seen:
        for number, text in enumerate(texts):
            heed(number, len(texts))
            anatomy.body(input_ids=torch.tensor([text.ids], device=anatomy.device), use_cache=False)
            found.append(torch.stack([usual_mean(seen[layer][0, text.start :].double()) for layer in layers]))
    return torch.stack(found, dim=1)


def usual_mean(states: Tensor) -> Tensor:
    """Return the mean of states of a usual length, shape (width,), from those of a text, shape (tokens, width)."""
    lengths = states.norm(dim=-1)
    return states[lengths <= SINK * lengths.median()].mean(0)


@torch.no_grad()
def examples_of(anatomy: Anatomy, texts: Sequence[Tokens], first: int, heed: Heed) -> list[Example]:
    """Run the blocks below `first` over each text, alone."""
    found = []
    for number, text in enumerate(texts):
        heed(number, len(texts))
        answer = torch.tensor(text.ids[text.start :], device=anatomy.device)
        found.append(Example(_below(anatomy, text.ids, first), answer))
    return found


def _below(anatomy: Anatomy, ids: Sequence[int], first: int) -> Tensor:
    """Return what enters block `first`, less what the model adds to whatever enters its first block."""
    row = torch.tensor([ids], device=anatomy.device)
    if first == 0:
        hidden: Tensor = anatomy.model.get_input_embeddings()(row)
        return hidden[0]
    with blocks_from(anatomy, 0, first), reading(anatomy, [first - 1]) as seen:
        anatomy.body(input_ids=row, use_cache=False)
    return seen[first - 1][0] - _positions(anatomy, len(ids))


def _positions(anatomy: Anatomy, tokens: int) -> Tensor | float:
    """Return what GPT-2 adds to its input for each place, shape (tokens, width); Llama turns its queries instead."""
    table = getattr(anatomy.body, "wpe", None)
    return 0.0 if table is None else table(torch.arange(tokens, device=anatomy.device))


def answer_logits(anatomy: Anatomy, examples: Sequence[Example], first: int) -> tuple[Tensor, Tensor]:
    """Return what predicts every answer token, shape (tokens, vocabulary), and which example each belongs to.

    Only the places that predict an answer token go through the head.
    """
    longest = max(len(example.hidden) for example in examples)
    batch = torch.stack([F.pad(example.hidden, (0, 0, 0, longest - len(example.hidden))) for example in examples])
    with blocks_from(anatomy, first, anatomy.depth):
        hidden = anatomy.body(inputs_embeds=batch, use_cache=False).last_hidden_state
    places, owner = [], []
    for number, example in enumerate(examples):
        tokens, answer = len(example.hidden), len(example.answer)
        places.append(number * longest + torch.arange(tokens - answer - 1, tokens - 1, device=batch.device))
        owner.append(torch.full_like(example.answer, number))
    chosen = hidden.flatten(0, 1).index_select(0, torch.cat(places))
    return anatomy.model.get_output_embeddings()(chosen), torch.cat(owner)


def answer_logp(anatomy: Anatomy, examples: Sequence[Example], first: int) -> tuple[Tensor, Tensor]:
    """Return the log-likelihood of every answer token, in nats, and which example each belongs to."""
    logits, owner = answer_logits(anatomy, examples, first)
    target = torch.cat([example.answer for example in examples])
    return -F.cross_entropy(logits, target, reduction="none"), owner


def sums(values: Tensor, owner: Tensor, count: int) -> Tensor:
    """Return the sum of each example's values, shape (count,)."""
    return torch.zeros(count, dtype=values.dtype, device=values.device).index_add(0, owner, values)


def check_passes(anatomy: Anatomy, first: int) -> None:
    """Refuse a model that does not run in two parts as this module runs it.

    Raises:
        BadInput: Its logits differ from the model's own.
    """
    size = int(anatomy.model.get_input_embeddings().weight.shape[0])
    ids = tuple((number * 7 + 3) % size for number in range(PROBE_TOKENS))
    with torch.no_grad():
        example = examples_of(anatomy, [Tokens(ids, 1)], first, lambda done, total: None)
        ours, _ = answer_logits(anatomy, example, first)
        theirs = anatomy.model(input_ids=torch.tensor([ids], device=anatomy.device), use_cache=False).logits[0, :-1]
    if not torch.allclose(ours, theirs, atol=TOLERANCE, rtol=TOLERANCE):
        kind = type(anatomy.model).__name__
        raise BadInput(f"{kind}: its blocks do not run apart; take detox.steer or detox.project for this model")
