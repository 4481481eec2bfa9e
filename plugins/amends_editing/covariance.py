"""The second moment of what goes into each MLP output projection, over running text: what an edit must not disturb.

ROME (Meng et al., 2022) reads 100,000 articles for it; a few hundred thousand tokens are enough where the estimate is
shrunk towards a multiple of the identity for the directions that they never showed. All layers are read in one pass
that ends at the last of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from amends import BadInput
from amends_editing.structure import Anatomy, ending_with

WINDOW = 256  # tokens that see each other
AT_ONCE = 4  # windows in a forward pass
FEWEST_TOKENS = 1000
TOLD_EVERY = 10_000  # tokens between two reports of progress


@dataclass(frozen=True)
class Moments:
    """E[k kᵀ] for each layer.

    Args:
        moments: By layer, shape (inner, inner), float32.
        tokens: Over how many tokens.
    """

    moments: dict[int, Tensor]
    tokens: int

    def covariance(self, layer: int, shrinkage: float) -> Tensor:
        """Return a layer's moment in float64, shrunk towards its mean variance times the identity.

        Args:
            layer: One of those that were read.
            shrinkage: The identity's share, in [0, 1]; 1 is the identity, up to its scale.
        """
        moment = self.moments[layer].double()
        size = moment.shape[0]
        shrunk = (1 - shrinkage) * moment
        shrunk.diagonal().add_(shrinkage * moment.trace() / size)
        return shrunk


def windows(tokenizer: Any, texts: Iterable[str], most: int) -> Iterator[list[int]]:
    """Cut texts into windows of tokens, at most so many tokens in all; what is left over is no window.

    A window begins in the midst of text, so that no special token stands before it.
    """
    left, waiting = most, []
    for text in texts:
        waiting += tokenizer(text, add_special_tokens=False)["input_ids"]
        while len(waiting) >= WINDOW and left >= WINDOW:
            yield waiting[:WINDOW]
            waiting, left = waiting[WINDOW:], left - WINDOW
        if left < WINDOW:
            return


@torch.no_grad()
def read_moments(
    anatomy: Anatomy,
    tokenizer: Any,
    texts: Iterable[str],
    layers: Sequence[int],
    most: int = 200_000,
    progress: Callable[[int, int, str], None] = lambda done, total, message: None,
) -> Moments:
    """Read the second moments of some layers over running text.

    Args:
        anatomy: The model's parts.
        tokenizer: Its tokenizer.
        texts: Running text, in pieces of any length.
        layers: Which layers.
        most: At most so many tokens.
        progress: Told after each pass, in tokens.

    Raises:
        BadInput: There is too little text.
    """
    inner = anatomy.projections[layers[0]].weight.shape[1]
    sums = {layer: torch.zeros(inner, inner, dtype=torch.float64) for layer in layers}
    seen, batch = 0, []
    hooks = [anatomy.projections[layer].module.register_forward_pre_hook(_adding(sums[layer])) for layer in layers]
    last = anatomy.projections[max(layers)].module
    try:
        for window in windows(tokenizer, texts, most):
            batch.append(window)
            if len(batch) == AT_ONCE:
                seen += _read(anatomy, batch, last)
                batch = []
                if seen // TOLD_EVERY > (seen - WINDOW * AT_ONCE) // TOLD_EVERY:
                    progress(seen, most, "reading covariances")
        seen += _read(anatomy, batch, last)
    finally:
        for hook in hooks:
            hook.remove()
    if seen < FEWEST_TOKENS:
        raise BadInput(
            f"the text for covariances has {seen} tokens in whole windows of {WINDOW}; give one with {FEWEST_TOKENS} "
            "or more, best 200,000"
        )
    progress(most, most, "reading covariances")
    return Moments({layer: (total / seen).float() for layer, total in sums.items()}, seen)


def _read(anatomy: Anatomy, batch: Sequence[Sequence[int]], last: nn.Module) -> int:
    if not batch:
        return 0
    tokens = torch.tensor(batch, device=anatomy.device)
    with ending_with(last):
        anatomy.model(input_ids=tokens, use_cache=False)
    return tokens.numel()


def _adding(total: Tensor) -> Any:
    def add(_: nn.Module, args: Any) -> None:
        found = args[0].reshape(-1, total.shape[0])
        total.add_((found.T @ found).cpu())

    return add
