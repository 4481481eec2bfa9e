"""Run a frozen model of the Llama family in two parts: below the adapted layers once, above them in every step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from amends import BadInput
from amends.serving.encoding import encode


@dataclass(frozen=True)
class Example:
    """A record as the adapted layers see it.

    Args:
        hidden: Activations below the adapted layers, shape (tokens, width).
        answer: Token ids of the answer, at the end of the tokens.
    """

    hidden: Tensor
    answer: Tensor


def prepare(model: Any, tokenizer: Any, row: Mapping[str, Any], layers: int) -> Example:
    """Tokenise one record and run the frozen lower layers over it, alone."""
    prompt, answer = encode(tokenizer, row["prompt"], row["answer"])
    ids = torch.tensor([[*prompt, *answer]], device=model.device)
    body = model.get_decoder()
    with torch.no_grad():
        hidden = run_layers(body, body.embed_tokens(ids), 0, len(body.layers) - layers)
    return Example(hidden[0], torch.tensor(answer, device=model.device))


def run_layers(body: Any, hidden: Tensor, first: int, last: int) -> Tensor:
    """Run decoder layers `first` to `last` over (batch, tokens, width) activations, causally."""
    positions = torch.arange(hidden.shape[1], device=hidden.device)[None]
    rotary = body.rotary_emb(hidden, positions)
    lowest = torch.finfo(hidden.dtype).min
    square = torch.full((hidden.shape[1], hidden.shape[1]), lowest, dtype=hidden.dtype, device=hidden.device)
    mask = square.triu(1)[None, None]
    for layer in body.layers[first:last]:
        hidden = layer(hidden, attention_mask=mask, position_ids=positions, position_embeddings=rotary)
    return hidden


def run_upper(model: Any, hidden: Tensor, layers: int) -> Tensor:
    """Run the top `layers` decoder layers."""
    body = model.get_decoder()
    return run_layers(body, hidden, len(body.layers) - layers, len(body.layers))


def answer_logp(model: Any, examples: Sequence[Example], layers: int) -> tuple[Tensor, Tensor]:
    """Return the log-likelihood of every answer token, in nats, and which example each belongs to."""
    logits, owner = answer_logits(model, examples, layers)
    target = torch.cat([example.answer for example in examples])
    return -F.cross_entropy(logits, target, reduction="none"), owner


def answer_logits(model: Any, examples: Sequence[Example], layers: int) -> tuple[Tensor, Tensor]:
    """Return what predicts every answer token, shape (tokens, vocabulary), and which example each belongs to.

    Only the positions that predict an answer token go through the head.
    """
    hidden = run_upper(model, padded(examples), layers)
    at, owner = answer_places(examples)
    body = model.get_decoder()
    return model.lm_head(body.norm(hidden.flatten(0, 1).index_select(0, at))), owner


def padded(examples: Sequence[Example]) -> Tensor:
    """Return examples as one batch, filled up at the end with zeros, shape (batch, longest, width)."""
    longest = max(len(example.hidden) for example in examples)
    return torch.stack([F.pad(example.hidden, (0, 0, 0, longest - len(example.hidden))) for example in examples])


def answer_places(examples: Sequence[Example]) -> tuple[Tensor, Tensor]:
    """Return where in the flattened batch an answer token is predicted, and which example each belongs to."""
    longest = max(len(example.hidden) for example in examples)
    owner = torch.cat([torch.full_like(example.answer, index) for index, example in enumerate(examples)])
    return owner * longest + torch.cat([_predicting(example) for example in examples]), owner


def _predicting(example: Example) -> Tensor:
    tokens, answer = len(example.hidden), len(example.answer)
    return torch.arange(tokens - answer - 1, tokens - 1, device=example.answer.device)


def check_model(model: Any) -> None:
    """Refuse a model whose layers do not run as this module runs them.

    Raises:
        BadInput: Its logits differ from the model's own.
    """
    model.requires_grad_(False)
    ids = torch.arange(1, 9, device=model.device)[None]
    with torch.no_grad():
        body = model.get_decoder()
        ours = model.lm_head(body.norm(run_layers(body, body.embed_tokens(ids), 0, len(body.layers))))
        theirs = model(ids).logits
    if not torch.allclose(ours, theirs, atol=1e-3, rtol=1e-3):
        raise BadInput("adapters can be trained on models of the Llama family only; import one of those")
