"""What a model thought of given tokens: log-probabilities and what Min-K%++ needs beside them."""

from __future__ import annotations

import inspect
from collections import defaultdict
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
def score_pairs(model: Any, pairs: Sequence[TokenPair]) -> list[Score]:
    """Score the second ids of each pair given the first.

    A pair's neighbours shall not change its score. On a CPU they would, by 1e-5 as measured, both by padding and
    by the number of rows in a matrix product; so there each pair runs alone. Elsewhere pairs of equal
    length share a forward pass.
    """
    scores: list[Score | None] = [None] * len(pairs)
    rows = 1 if model.device.type == "cpu" else ROWS
    for indices in batches([len(prompt) + len(answer) for prompt, answer in pairs], rows):
        for index, score in zip(indices, _score_batch(model, [pairs[i] for i in indices]), strict=True):
            scores[index] = score
    return [score for score in scores if score is not None]


@torch.inference_mode()
def next_token(model: Any, rows: Sequence[list[int]]) -> list[Tensor]:
    """Return the log-probability of every token that may follow each row's ids, shape (vocabulary,) each.

    Each row runs alone, whatever the device: there are few, and each answer is long.
    """
    return [logits_of(model, [row], 1)[0, -1].float().log_softmax(-1).cpu() for row in rows]


def logits_of(model: Any, rows: Sequence[list[int]], last: int) -> Tensor:
    """Return the logits of rows of one length, at least those of the last places, shape (rows, places, vocabulary)."""
    only = {"logits_to_keep": last} if "logits_to_keep" in inspect.signature(model.forward).parameters else {}
    found: Tensor = model(input_ids=torch.tensor(rows, device=model.device), use_cache=False, **only).logits
    return found


def _score_batch(model: Any, pairs: Sequence[TokenPair]) -> list[Score]:
    logits = logits_of(model, [first + then for first, then in pairs], 1 + max(len(answer) for _, answer in pairs))
    scores = []
    for row, (_, answer) in zip(logits, pairs, strict=True):
        targets = torch.tensor(answer, dtype=torch.long, device=row.device)
        scores.append(score_of(row[-len(answer) - 1 : -1], targets))
    return scores


def batches(lengths: Sequence[int], most: int) -> Iterator[list[int]]:
    """Yield the indices of pairs that share a forward pass: of one length, and at most so many."""
    by_length: dict[int, list[int]] = defaultdict(list)
    for index, length in enumerate(lengths):
        by_length[length].append(index)
    for length, indices in sorted(by_length.items()):
        rows = max(1, min(most, TOKENS // length))
        yield from (indices[start : start + rows] for start in range(0, len(indices), rows))
