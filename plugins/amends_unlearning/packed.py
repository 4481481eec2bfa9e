"""Run several records at once without padding: their tokens lie one after another, and each is attended to alone.

What comes out is what `activations` gives for each record by itself, but for the last bits, which depend on the records
beside it. So approximate methods run like this, and whatever is rebuilt bit for bit runs each record alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import AttentionInterface

from amends import BadInput
from amends.serving.encoding import encode

from .activations import Example
from .head import Term, losses_of

APART = "amends-apart"
TOGETHER = 768  # tokens that are run at once where nothing is trained, unless one record has more


@torch.no_grad()
def read(model: Any, tokenizer: Any, rows: Sequence[Mapping[str, Any]], depth: int) -> list[Example]:
    """Tokenise records and run the first `depth` layers over them."""
    body, examples = model.get_decoder(), []
    for row in rows:
        prompt, answer = encode(tokenizer, row["prompt"], row["answer"])
        ids, own = (torch.tensor(some, device=model.device) for some in ([*prompt, *answer], answer))
        examples.append(Example(body.embed_tokens(ids), own))
    return read_on(model, examples, 0, depth)


@torch.no_grad()
def read_on(model: Any, examples: Sequence[Example], first: int, last: int) -> list[Example]:
    """Run layers `first` to `last` over what the layers below gave."""
    found = []
    for places in grouped([len(example.hidden) for example in examples]):
        some = [examples[place] for place in places]
        lengths = [len(example.hidden) for example in some]
        hidden = run_layers(model.get_decoder(), torch.cat([one.hidden for one in some]), lengths, first, last)
        parts = torch.split(hidden, lengths)
        found += [Example(part.clone(), one.answer) for part, one in zip(parts, some, strict=True)]
    return found


def grouped(lengths: Sequence[int]) -> Iterator[range]:
    """Yield consecutive places that have at most `TOGETHER` tokens, or one record, between them."""
    start, tokens = 0, 0
    for place, length in enumerate(lengths):
        if place > start and tokens + length > TOGETHER:
            yield range(start, place)
            start, tokens = place, 0
        tokens += length
    if lengths:
        yield range(start, len(lengths))


def run_layers(
    body: Any, hidden: Tensor, lengths: Sequence[int], first: int, last: int, at: Tensor | None = None
) -> Tensor:
    """Run decoder layers `first` to `last`, causally within each record.

    Args:
        body: The decoder.
        hidden: Activations of all records one after another, shape (tokens, width).
        lengths: How many tokens each has.
        first: The first layer.
        last: The one after the last.
        at: The tokens that are asked for, if not all.
    """
    positions = torch.cat([torch.arange(length, device=hidden.device) for length in lengths])[None]
    hidden = hidden[None]
    told = {
        "attention_mask": None,
        "position_ids": positions,
        "position_embeddings": body.rotary_emb(hidden, positions),
        "lengths": list(lengths),
    }
    whole = last if at is None else last - 1
    with _attending_apart(body.config):
        for layer in body.layers[first:whole]:
            hidden = layer(hidden, **told)
        if at is not None:
            layer = body.layers[whole]
            attended = hidden + layer.self_attn(hidden_states=layer.input_layernorm(hidden), **told)[0]
            hidden = attended.index_select(1, at)
            hidden = hidden + layer.mlp(layer.post_attention_layernorm(hidden))
    return hidden[0]


def run_upper(model: Any, examples: Sequence[Example], layers: int, at: Tensor | None = None) -> Tensor:
    """Run the top `layers` decoder layers over all tokens but the last, which nothing follows, (tokens, width).

    Args:
        model: Whose layers.
        examples: What is run.
        layers: How many; none, where the records are prepared to the top.
        at: The tokens that are asked for, if not all: no other goes through the last layer's MLP.
    """
    body = model.get_decoder()
    hidden, lengths = laid_out(examples)
    if layers == 0:
        return hidden if at is None else hidden.index_select(0, at)
    return run_layers(body, hidden, lengths, len(body.layers) - layers, len(body.layers), at)


def laid_out(examples: Sequence[Example]) -> tuple[Tensor, list[int]]:
    """Return the activations of all tokens that another follows, (tokens, width), and how many each record has."""
    return torch.cat([example.hidden[:-1] for example in examples]), [len(example.hidden) - 1 for example in examples]


def answer_logits(model: Any, examples: Sequence[Example], layers: int) -> tuple[Tensor, Tensor]:
    """Return what predicts every answer token, shape (tokens, vocabulary), and which example each belongs to."""
    at, owner = answer_places(examples)
    hidden = run_upper(model, examples, layers, at)
    return model.lm_head(model.get_decoder().norm(hidden)), owner


def answer_losses(
    model: Any, examples: Sequence[Example], layers: int, tokens: Tensor, term: Term
) -> tuple[Tensor, Tensor]:
    """Return the loss where each answer token is predicted, shape (places,), and which example each belongs to.

    Args:
        model: Whose top layers run.
        examples: What is run.
        layers: How many.
        tokens: Which log-probabilities the loss at each place is of, shape (places, tokens).
        term: The loss.
    """
    at, owner = answer_places(examples)
    hidden = model.get_decoder().norm(run_upper(model, examples, layers, at))
    return losses_of(model.lm_head, hidden, tokens, term), owner


def answer_logp(model: Any, examples: Sequence[Example], layers: int) -> tuple[Tensor, Tensor]:
    """Return the log-likelihood of every answer token, in nats, and which example each belongs to."""
    target = torch.cat([example.answer for example in examples])[:, None]
    return answer_losses(model, examples, layers, target, lambda logp, _: logp.squeeze(-1))


def loss_of(model: Any, examples: Sequence[Example], layers: int) -> Tensor:
    """Return the mean negative log-likelihood of an answer token, averaged within each answer first."""
    logp, owner = answer_logp(model, examples, layers)
    return -by_example(logp, owner, len(examples)).mean()


def by_example(each: Tensor, owner: Tensor, examples: int) -> Tensor:
    """Return the means of each example's own tokens, shape (examples,)."""
    count = torch.bincount(owner, minlength=examples)
    return torch.zeros(examples, dtype=each.dtype, device=each.device).index_add(0, owner, each) / count


def answer_places(examples: Sequence[Example]) -> tuple[Tensor, Tensor]:
    """Return where in `laid_out` an answer token is predicted, and which example each belongs to."""
    places, owner, behind = [], [], 0
    for index, example in enumerate(examples):
        behind += len(example.hidden) - 1
        places.append(torch.arange(behind - len(example.answer), behind, device=example.answer.device))
        owner.append(torch.full_like(example.answer, index))
    return torch.cat(places), torch.cat(owner)


def check_model(model: Any) -> None:
    """Refuse a model whose layers do not run as this module runs them.

    Raises:
        BadInput: Its logits differ from the model's own.
    """
    model.requires_grad_(False)
    ids = torch.arange(1, 9, device=model.device).view(2, 4)
    with torch.no_grad():
        body = model.get_decoder()
        every = torch.arange(ids.numel(), device=model.device)
        hidden = run_layers(body, body.embed_tokens(ids).flatten(0, 1), [4, 4], 0, len(body.layers), every)
        ours, theirs = model.lm_head(body.norm(hidden)), model(ids).logits.flatten(0, 1)
    if not torch.allclose(ours, theirs, atol=1e-3, rtol=1e-3):
        raise BadInput("adapters can be trained on models of the Llama family only; import one of those")


@contextmanager
def _attending_apart(config: Any) -> Iterator[None]:
    before, config._attn_implementation = config._attn_implementation, APART
    try:
        yield
    finally:
        config._attn_implementation = before


def _attend_apart(
    module: Any, query: Tensor, key: Tensor, value: Tensor, mask: None, *, lengths: list[int], scaling: float,
    **more: Any,
) -> tuple[Tensor, None]:  # fmt: skip
    """Attend causally within each record; query, key and value have shape (1, heads, tokens, head width)."""
    each = zip(*(torch.split(given, lengths, 2) for given in (query, key, value)), strict=True)
    found = [
        F.scaled_dot_product_attention(q, k, v, is_causal=True, scale=scaling, enable_gqa=True) for q, k, v in each
    ]
    return torch.cat(found, 2).transpose(1, 2), None


AttentionInterface.register(APART, _attend_apart)
