"""Low-rank changes of every linear map of the top blocks (LoRA, Hu et al., 2022), merged at the end.

While they are trained they run beside the weights by hooks, so the model itself stays as it is.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from amends import BadInput
from amends_detox.anatomy import Anatomy

SCALE = 2.0  # alpha over r


@dataclass(frozen=True, eq=False)
class LowRank:
    """Matrices A and B of some linear maps: x goes to W x + (alpha / r) B A x.

    Args:
        modules: The linear maps.
        down: A of each, shape (rank, in).
        up: B of each, shape (out, rank).
    """

    modules: tuple[Any, ...]
    down: tuple[Tensor, ...]
    up: tuple[Tensor, ...]

    def parameters(self) -> list[Tensor]:
        """Return every matrix in a fixed order."""
        return [*self.down, *self.up]

    @contextmanager
    def armed(self) -> Iterator[None]:
        """Add the change to what the maps put out while the context lasts."""
        hooks = [
            module.register_forward_hook(_added(down, up))
            for module, down, up in zip(self.modules, self.down, self.up, strict=True)
        ]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    @torch.no_grad()
    def merge(self, times: float = 1.0) -> None:
        """Add so many times the change to the weights for good; zero times leaves every bit."""
        if times == 0:
            return
        for module, down, up in zip(self.modules, self.down, self.up, strict=True):
            change = times * SCALE * (up.detach() @ down.detach())
            module.weight.add_(change if isinstance(module, nn.Linear) else change.T)


def _added(down: Tensor, up: Tensor) -> Any:
    def hook(_: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        return output + SCALE * F.linear(F.linear(inputs[0], down), up)

    return hook


def fresh(anatomy: Anatomy, layers: int, rank: int, seed: int) -> LowRank:
    """Return a change of the top `layers` blocks that changes nothing yet: A is drawn from `seed`, B is zero.

    Raises:
        BadInput: The model has no so many blocks.
    """
    if not 1 <= layers <= anatomy.depth:
        raise BadInput(f"the model has {anatomy.depth} layers; adapt between 1 and {anatomy.depth}, not {layers}")
    generator = torch.Generator().manual_seed(seed)
    inside = [module for block in anatomy.blocks[-layers:] for module in block.modules()]
    modules: tuple[Any, ...] = tuple(module for module in inside if _is_linear(module))
    down, up = [], []
    for module in modules:
        first, second = module.weight.shape
        out, into = (first, second) if isinstance(module, nn.Linear) else (second, first)
        drawn = 2 * torch.rand((rank, into), generator=generator) - 1
        down.append((drawn * into**-0.5).to(anatomy.device))
        up.append(torch.zeros(out, rank, device=anatomy.device))
    return LowRank(modules, tuple(down), tuple(up))


def _is_linear(module: nn.Module) -> bool:
    return isinstance(module, nn.Linear) or type(module).__name__ == "Conv1D"
