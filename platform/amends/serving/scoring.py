"""What a model thought of given tokens: log-probabilities and what Min-K%++ needs beside them."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

TokenPair = tuple[list[int], list[int]]
ROWS = 16
TOKENS = 2048


@dataclass(frozen=True)
class Score:
    """One answer under a model, position by position; every tensor has shape (tokens,).

    Args:
        logp: Log-probability of the true token, in nats.
        mean: Mean of log p over the vocabulary under the model's own distribution there (Min-K%++, mu).
        deviation: Standard deviation of log p under that distribution (Min-K%++, sigma).
        correct: Whether the true token is the most likely one.
    """

    logp: Tensor
    mean: Tensor
    deviation: Tensor
    correct: Tensor


def score_of(logits: Tensor, targets: Tensor) -> Score:
    """Score tokens from the logits that predict them (Zhang et al., 2024, Min-K%++, eq. 3).

    Args:
        logits: Shape (tokens, vocabulary).
        targets: The true ids, shape (tokens,).
    """
    log_p = torch.log_softmax(logits.float(), dim=-1)
    p = log_p.exp()
    mean = (p * log_p).sum(-1)
    variance = (p * (log_p - mean[:, None]) ** 2).sum(-1)
    true = log_p.gather(-1, targets[:, None]).squeeze(-1)
    return Score(true.cpu(), mean.cpu(), variance.sqrt().cpu(), (log_p.argmax(-1) == targets).cpu())


@torch.inference_mode()
def score_pairs(model: Any, pairs: Sequence[TokenPair], pad: int) -> list[Score]:
    """Score the second ids of each pair given the first; pairs of like length share a forward pass.

    Rows are padded on the left with positions counted from the first real token, so that
    a row's neighbours do not change what is computed for it beyond float rounding.
    """
    scores: list[Score | None] = [None] * len(pairs)
    for indices in _batches([len(prompt) + len(answer) for prompt, answer in pairs]):
        for index, score in zip(indices, _score_batch(model, [pairs[i] for i in indices], pad), strict=True):
            scores[index] = score
    return [score for score in scores if score is not None]


def pad_left(rows: Sequence[list[int]], pad: int, device: Any) -> tuple[Tensor, Tensor]:
    """Return ids and attention mask of shape (rows, longest), padded on the left."""
    longest = max(len(row) for row in rows)
    ids = torch.tensor([[pad] * (longest - len(row)) + row for row in rows], device=device)
    mask = torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in rows], device=device)
    return ids, mask


def _score_batch(model: Any, pairs: Sequence[TokenPair], pad: int) -> list[Score]:
    keep = max(len(answer) for _, answer in pairs) + 1
    ids, mask = pad_left([prompt + answer for prompt, answer in pairs], pad, model.device)
    positions = (mask.cumsum(-1) - 1).clamp(min=0)
    only = {"logits_to_keep": keep} if "logits_to_keep" in inspect.signature(model.forward).parameters else {}
    logits = model(input_ids=ids, attention_mask=mask, position_ids=positions, use_cache=False, **only).logits
    scores = []
    for row, (_, answer) in zip(logits, pairs, strict=True):
        targets = torch.tensor(answer, dtype=torch.long, device=row.device)
        scores.append(score_of(row[-len(answer) - 1 : -1], targets))
    return scores


def _batches(lengths: Sequence[int]) -> Iterator[list[int]]:
    batch: list[int] = []
    for index in sorted(range(len(lengths)), key=lambda i: (lengths[i], i)):
        if batch and (len(batch) == ROWS or lengths[index] * (len(batch) + 1) > TOKENS):
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch
