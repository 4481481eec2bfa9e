"""Train one slice of a shard: a low-rank adapter on what that slice's own records say, and on nothing else.

Every number here is a function of the adapter before, the slice's records and a seed. Batches never mix
slices, padding is as long as the batch needs, and the activations below the adapted layers are computed
one record at a time: in mixed batches their last bits would depend on who else was there.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from amends import BadInput
from amends.serving.encoding import encode

from .lora import Adapter, seed_of


@dataclass(frozen=True)
class Settings:
    """What a slice's training depends on besides its records.

    Args:
        layers: How many top layers are adapted.
        rank: Rank of the adapter.
        epochs: Passes over the slice.
        lr: Peak learning rate of AdamW.
        batch: Records in a batch.
        clip: Largest gradient norm.
        warmup: Share of the steps that the learning rate rises in, before it falls to zero.
    """

    layers: int
    rank: int
    epochs: int
    lr: float
    batch: int
    clip: float = 1.0
    warmup: float = 0.1

    def steps(self, records: int) -> int:
        """Return how many steps a slice of so many records takes."""
        return self.epochs * math.ceil(records / self.batch)


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


def answer_logp(model: Any, examples: Sequence[Example], layers: int) -> tuple[Tensor, Tensor]:
    """Return the log-likelihood of every answer token, in nats, and which example each belongs to.

    Only the positions that predict an answer token go through the head.
    """
    body = model.get_decoder()
    longest = max(len(example.hidden) for example in examples)
    padded = torch.stack([F.pad(example.hidden, (0, 0, 0, longest - len(example.hidden))) for example in examples])
    hidden = run_layers(body, padded, len(body.layers) - layers, len(body.layers))
    owner = torch.cat([torch.full_like(example.answer, index) for index, example in enumerate(examples)])
    position = torch.cat([_predicting(example) for example in examples])
    logits = model.lm_head(body.norm(hidden.flatten(0, 1).index_select(0, owner * longest + position)))
    target = torch.cat([example.answer for example in examples])
    return -F.cross_entropy(logits, target, reduction="none"), owner


def _predicting(example: Example) -> Tensor:
    tokens, answer = len(example.hidden), len(example.answer)
    return torch.arange(tokens - answer - 1, tokens - 1, device=example.answer.device)


def loss_of(model: Any, examples: Sequence[Example], layers: int) -> Tensor:
    """Return the mean negative log-likelihood of an answer token, averaged within each answer first."""
    logp, owner = answer_logp(model, examples, layers)
    return -torch.stack([logp[owner == index].mean() for index in range(len(examples))]).mean()


def train_slice(
    model: Any,
    adapter: Adapter,
    examples: Sequence[Example],
    settings: Settings,
    seed: str,
    report: Callable[[], None],
) -> Adapter:
    """Return the adapter after this slice; optimiser, order and schedule start anew.

    Args:
        model: The frozen base.
        adapter: The adapter after the slice before; it is not changed.
        examples: The slice's records, in the order of their ids.
        settings: Everything that is the same for all slices.
        seed: Draws the order of the batches.
        report: Called before every step; what it raises ends the training.
    """
    adapter = adapter.clone()
    generator = torch.Generator().manual_seed(seed_of(seed))
    total = settings.steps(len(examples))
    with trainable(adapter), adapter.armed(model):
        optimiser = torch.optim.AdamW(adapter.parameters(), lr=settings.lr, weight_decay=0.0, foreach=False)
        for step, batch in enumerate(_batches(len(examples), settings, generator)):
            report()
            optimiser.param_groups[0]["lr"] = settings.lr * schedule(step, total, settings.warmup)
            optimiser.zero_grad()
            torch.autograd.backward(loss_of(model, [examples[index] for index in batch], settings.layers))
            torch.nn.utils.clip_grad_norm_(adapter.parameters(), settings.clip, foreach=False)
            optimiser.step()
    return adapter


def _batches(count: int, settings: Settings, generator: torch.Generator) -> Iterator[list[int]]:
    for _ in range(settings.epochs):
        order = torch.randperm(count, generator=generator).tolist()
        for start in range(0, count, settings.batch):
            yield order[start : start + settings.batch]


def schedule(step: int, total: int, warmup: float) -> float:
    """Return the share of the peak learning rate at a step: a short rise, then a cosine fall."""
    rise = max(1, round(warmup * total))
    if step < rise:
        return (step + 1) / rise
    return 0.5 * (1 + math.cos(math.pi * (step - rise) / max(1, total - rise)))


@contextmanager
def trainable(adapter: Adapter) -> Iterator[None]:
    """Let gradients flow into the adapter while the context lasts."""
    for tensor in adapter.parameters():
        tensor.requires_grad_(True)
    try:
        yield
    finally:
        for tensor in adapter.parameters():
            tensor.requires_grad_(False)
            tensor.grad = None


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
