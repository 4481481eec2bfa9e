"""Project a toxic subspace out of what the MLPs write, in closed form (ProFS, Uppaal et al., 2025).

For each layer the differences between toxic and neutral texts, less what all neutral texts share, span the subspace
with their first directions; the MLP's output projection is kept from writing there. The first token of a text is left
out of every mean, and both sides are written alike: as published, on small models, the first directions are those of
the attention sink and of capitals and full stops.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from amends import BadInput, Task
from amends.operation.descent import check_finite, check_weights
from amends_detox.anatomy import anatomy_of
from amends_detox.pairs import Pair, tokens_of
from amends_detox.passes import mean_states
from amends_detox.stages import stage

UPPER = (0.5, 0.9)  # of the depth


def subspace_of(toxic: Tensor, neutral: Tensor, rank: int, shared: int) -> Tensor:
    """Return an orthonormal basis of the toxic subspace, shape (width, rank), float64 (ProFS, Uppaal et al., 2025).

    Args:
        toxic: Mean states of the toxic texts at one layer, shape (pairs, width).
        neutral: The same of the neutral ones.
        rank: How many directions are toxic.
        shared: How many first directions of the neutral states are taken out before; the paper takes one.
    """
    common = torch.linalg.svd(neutral.double(), full_matrices=False).Vh[:shared]
    differences = (toxic - neutral).double()
    differences = differences - differences @ common.T @ common
    found: Tensor = torch.linalg.svd(differences, full_matrices=False).Vh[:rank].T
    return found


def without(weight: Tensor, basis: Tensor, strength: float) -> Tensor:
    """Return (I - strength P) W with P = basis basis^T, shape (width, inner) as the weight, float64."""
    found = weight.double()
    return found - strength * basis @ (basis.T @ found)


def project(task: Task, pairs: Sequence[Pair], layers: str, rank: int, shared: int, strength: float) -> None:
    """Write the source's model with each layer's subspace projected out of its MLP's output projection.

    Args:
        task: The task.
        pairs: Toxic and neutral texts; or texts that differ in any other property that is to go.
        layers: Which; empty for those from half the depth to nine tenths.
        rank: See `subspace_of`; at most one less than there are pairs.
        shared: See `subspace_of`.
        strength: How much of the projection is taken: 1 all of it, 0 none.
    """
    if not 0 <= strength <= 1:
        raise BadInput(f"strength is {strength}; a projection is taken by a share, from 0 to 1")
    if rank < 1 or shared < 0:
        raise BadInput(f"rank is {rank} and shared {shared}; take out at least one direction and share none or more")
    plain = [pair.alike() for pair in pairs]
    if rank >= len(plain):
        raise BadInput(f"{len(plain)} pairs show no {rank} directions; give more pairs or take a smaller rank")
    model, tokenizer = task.load()
    anatomy = anatomy_of(model)
    depth = anatomy.depth
    chosen = anatomy.layers(layers, range(round(UPPER[0] * depth), max(round(UPPER[1] * depth), 1 + depth // 2)))
    texts = [tokens_of(tokenizer, pair.prompt, side) for pair in plain for side in (pair.toxic, pair.neutral)]
    total = len(texts) + len(chosen)
    states = mean_states(anatomy, texts, chosen, stage(task, "reading texts", 0, len(texts), total))
    check_finite(states)
    for number, (layer, states_here) in enumerate(zip(chosen, states, strict=True)):
        task.progress(len(texts) + number, total, "projecting")
        projection = anatomy.projections[layer]
        basis = subspace_of(states_here[0::2], states_here[1::2], rank, shared)
        projection.put(without(projection.weight, basis, strength))
    check_weights(anatomy.model)
    task.progress(total, total, "projected")
    task.save(model, tokenizer)
