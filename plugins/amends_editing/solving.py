"""Closed forms that write keys and values into a projection, in float64. Keys are columns: K has shape (inner, facts).

Each returns the right factor of an update R @ right.T, where R is what the keys are to put out more, (width, facts).
"""

from __future__ import annotations

import torch
from torch import Tensor

from amends import BadInput


def factor(covariance: Tensor) -> Tensor:
    """Return the Cholesky factor of a covariance, shape (inner, inner); done once for each layer.

    Raises:
        BadInput: There is none: the text did not show enough directions.
    """
    lower: Tensor
    lower, failed_at = torch.linalg.cholesky_ex(covariance)
    if failed_at:
        raise BadInput(
            "the text's statistics do not tell all directions apart; give more text, or take a larger shrinkage or "
            "weight (-p shrinkage=0.01)"
        )
    return lower


def rank_one(lower: Tensor, key: Tensor) -> Tensor:
    """Return C⁻¹k / (kᵀC⁻¹k): the direction in which one key is written and the others move least (ROME, eq. 2).

    Args:
        lower: Cholesky factor of C.
        key: k, shape (inner, 1).
    """
    direction = torch.cholesky_solve(key, lower)
    return direction / (key.T @ direction)


def ridge(lower: Tensor, keys: Tensor, weight: float) -> Tensor:
    """Return (λC + K Kᵀ)⁻¹ K by Woodbury: a system as large as the facts (MEMIT, eq. 14).

    Args:
        lower: Cholesky factor of C.
        keys: K.
        weight: λ.
    """
    whitened = torch.cholesky_solve(keys, lower) / weight
    small = torch.eye(keys.shape[1], dtype=keys.dtype) + keys.T @ whitened
    right: Tensor = torch.linalg.solve(small, whitened.T).T
    return right


def null_space(covariance: Tensor, threshold: float) -> Tensor:
    """Return an orthonormal basis of the directions that running text hardly uses (AlphaEdit, section 3.1).

    Args:
        covariance: C.
        threshold: Eigenvalues below this share of their mean belong to it.

    Returns:
        Shape (inner, rank).
    """
    values, vectors = torch.linalg.eigh(covariance)
    basis: Tensor = vectors[:, values < threshold * values.mean()]
    return basis


def projected(basis: Tensor, keys: Tensor, earlier: Tensor, weight: float) -> Tensor:
    """Return P K (Kᵀ…)⁻¹ of AlphaEdit: U (Uᵀ(K Kᵀ + K₀ K₀ᵀ)U + λI)⁻¹ Uᵀ K (eq. 14, in the basis U of the null space).

    Args:
        basis: U.
        keys: K, the new ones.
        earlier: K₀, those of earlier edits, shape (inner, earlier); may have no column.
        weight: λ.
    """
    inside = basis.T @ torch.cat([keys, earlier], dim=1)
    count, (rank, held) = keys.shape[1], inside.shape
    if held < rank:  # (E Eᵀ + λI)⁻¹ E = E (Eᵀ E + λI)⁻¹: a system as large as the facts, not as the null space
        gram = inside.T @ inside
        gram.diagonal().add_(weight)
        found = inside @ torch.linalg.solve(gram, torch.eye(held, count, dtype=keys.dtype))
    else:
        gram = inside @ inside.T
        gram.diagonal().add_(weight)
        found = torch.linalg.solve(gram, inside[:, :count])
    right: Tensor = basis @ found
    return right


def priced(covariance: Tensor, keys: Tensor, earlier: Tensor, weight: float, text: float) -> Tensor:
    """Return (K Kᵀ + K₀ K₀ᵀ + μC + λI)⁻¹ K: AlphaEdit's problem with a price on each direction in place of the cut.

    An eigenvector of C with the eigenvalue v costs λ + μv: next to nothing where running text hardly is, and the more
    the oftener it is there; the projector's price is λ below the threshold and infinite above.

    Args:
        covariance: C.
        keys: K, the new ones.
        earlier: K₀, those of earlier edits, shape (inner, earlier); may have no column.
        weight: λ.
        text: μ.
    """
    held = torch.cat([keys, earlier], dim=1)
    system = held @ held.T + text * covariance
    system.diagonal().add_(weight)
    right: Tensor = torch.cholesky_solve(keys, factor(system))
    return right


def recursive(inverse: Tensor, keys: Tensor) -> tuple[Tensor, Tensor]:
    """Take keys into a recursive least squares problem (Woodbury): S' = S + K Kᵀ.

    Args:
        inverse: S⁻¹, shape (inner, inner).
        keys: K.

    Returns:
        S'⁻¹ K, shape (inner, facts), and S'⁻¹; the cost does not depend on how many keys went in before.
    """
    reach = inverse @ keys
    small = torch.eye(keys.shape[1], dtype=keys.dtype) + keys.T @ reach
    gain = torch.linalg.solve(small, reach.T).T
    return gain, inverse - gain @ reach.T
