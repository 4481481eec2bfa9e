"""Find the nearest of many keys by brute force, and what they say comes next (Khandelwal et al., 2020, kNN-LM).

    p_kNN(y | x)  ~  sum over (k_i, v_i) in N of  1[y = v_i] exp(-d(k_i, f(x)) / T)

d is the squared Euclidean distance, computed in float32 as |q|² - 2 q·k + |k|², and N are the k nearest.
"""

from __future__ import annotations

import torch
from torch import Tensor

AT_ONCE = 64  # queries a product; more would hold too many distances at once


def nearest(queries: Tensor, keys: Tensor, squares: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Return the squared distances and the indices of each query's k nearest keys, the nearest first.

    Args:
        queries: Shape (queries, width).
        keys: Shape (keys, width).
        squares: |k|² of each key, shape (keys,).
        k: How many; all where there are fewer.

    Returns:
        Two tensors of shape (queries, k).
    """
    count = min(k, len(keys))
    distances, indices = [], []
    for some in torch.split(queries.float(), AT_ONCE):
        against = torch.addmm(squares[None], some, keys.T, alpha=-2.0) + (some * some).sum(-1, keepdim=True)
        found = against.clamp_(min=0.0).topk(count, dim=-1, largest=False, sorted=True)
        distances.append(found.values)
        indices.append(found.indices)
    return torch.cat(distances), torch.cat(indices)


def next_logp(distances: Tensor, values: Tensor, temperature: float, vocabulary: int) -> Tensor:
    """Return log p_kNN over the vocabulary, shape (queries, vocabulary); minus infinity where no neighbour speaks.

    Args:
        distances: Squared, shape (queries, k).
        values: The token that followed each neighbour, shape (queries, k).
        temperature: T, in squared distances.
        vocabulary: How many tokens there are.
    """
    weights = torch.softmax(-distances / temperature, dim=-1)
    mass = torch.zeros(len(distances), vocabulary, device=distances.device).scatter_add_(-1, values, weights)
    return mass.log()


def interpolated(logits: Tensor, knn_logp: Tensor, weight: float) -> Tensor:
    """Return log((1 - weight) p_LM + weight p_kNN), by logaddexp; shapes as the logits (…, vocabulary).

    Args:
        logits: Of the language model.
        knn_logp: log p_kNN.
        weight: Lambda, above 0 and below 1.
    """
    model = logits.float().log_softmax(-1) + torch.log1p(torch.tensor(-weight))
    return torch.logaddexp(model, knn_logp + torch.log(torch.tensor(weight)))
