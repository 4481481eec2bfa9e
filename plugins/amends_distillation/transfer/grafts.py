"""Low-rank changes that begin anywhere and still change nothing at first: W x + (B A - B0 A0) x.

LoRA (Hu et al., 2022) begins with B = 0. PKT (Zhong et al., 2024, section 3.2) and PiSSA (Meng et al., 2024) begin with
the factors of a matrix, which would change the model at once; so what they begin with is taken off. The two products
are computed alike, and at step 0 their difference is zero to the last bit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from amends_distillation.transfer.anatomy import Anatomy
from amends_distillation.transfer.sensitivity import Place

Factors = tuple[Tensor, Tensor]
"""A, shape (rank, in), and B, shape (out, rank)."""


class Grafts:
    """A low-rank change of some linear maps.

    Args:
        anatomy: The student.
        starts: A and B of each changed map when training begins.
    """

    def __init__(self, anatomy: Anatomy, starts: Mapping[Place, Factors]) -> None:
        self.modules = {place: anatomy.linear(*place) for place in starts}
        self.starts = {place: (down.clone(), up.clone()) for place, (down, up) in starts.items()}
        self.factors = {place: (down.clone(), up.clone()) for place, (down, up) in starts.items()}

    def parameters(self) -> list[Tensor]:
        """Return what is trained, in a fixed order."""
        return [matrix for pair in self.factors.values() for matrix in pair]

    @contextmanager
    def armed(self) -> Iterator[None]:
        """Add the change to what the maps put out while the context lasts."""
        hooks = [
            module.register_forward_hook(_added(self.starts[place], self.factors[place]))
            for place, module in self.modules.items()
        ]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    @torch.no_grad()
    def merge(self) -> None:
        """Add the change to the weights for good."""
        for place, module in self.modules.items():
            (down0, up0), (down, up) = self.starts[place], self.factors[place]
            module.weight.add_(up @ down - up0 @ down0)


def _added(start: Factors, now: Factors) -> Callable[..., Tensor]:
    def hook(_: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> Tensor:
        return output + (_product(inputs[0], now) - _product(inputs[0], start))

    return hook


def _product(inputs: Tensor, factors: Factors) -> Tensor:
    down, up = factors
    return F.linear(F.linear(inputs, down), up)


def factors_of(matrix: Tensor, rank: int) -> Factors:
    """Return A0 = V_r^T and B0 = U_r S_r of a matrix's singular value decomposition: PKT's start.

    Args:
        matrix: Shape (out, in).
        rank: How many singular values are kept, at most the smaller side.
    """
    left, values, right = torch.linalg.svd(matrix.float(), full_matrices=False)
    kept = min(rank, len(values))
    return right[:kept].contiguous(), (left[:, :kept] * values[:kept]).contiguous()


def random_factors(out: int, into: int, rank: int, generator: torch.Generator) -> Factors:
    """Return A drawn uniformly within one over the square root of the inputs, and B = 0: LoRA's own start."""
    drawn = 2 * torch.rand((rank, into), generator=generator) - 1
    return drawn * into**-0.5, torch.zeros(out, rank)
