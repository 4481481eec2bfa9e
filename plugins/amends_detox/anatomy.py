"""Find what detoxification changes in a model: its blocks, and the linear map that ends each block's MLP.

Two builds are known: that of the Llama family (`model.layers[i].mlp.down_proj`) and that of GPT-2
(`transformer.h[i].mlp.c_proj`). Any other is refused, and so is one that norms what its MLP puts out before adding it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from amends import BadInput

KNOWN = (("layers", "down_proj"), ("h", "c_proj"))
PROBE_TOKENS = 6
TOLERANCE = 1e-4  # of float32 sums in another order, relative to the largest value


@dataclass(frozen=True, eq=False)
class Projection:
    """The linear map that ends a block's MLP: from its inner width to the residual stream's."""

    module: Any

    @property
    def weight(self) -> Tensor:
        """The weight as mathematics writes it, a view, shape (width, inner); GPT-2 keeps it transposed."""
        found: Tensor = self.module.weight
        return found if isinstance(self.module, nn.Linear) else found.T

    @torch.no_grad()
    def put(self, weight: Tensor) -> None:
        """Replace the weight by one of shape (width, inner)."""
        self.weight.copy_(weight)


@dataclass(frozen=True, eq=False)
class Anatomy:
    """The parts of a model.

    Args:
        model: The `PreTrainedModel`.
        body: What holds the blocks.
        holder: Under which name it holds them.
        blocks: Its transformer blocks, in order.
        projections: The MLP output projection of each.
    """

    model: Any
    body: Any
    holder: str
    blocks: tuple[nn.Module, ...]
    projections: tuple[Projection, ...]

    @property
    def depth(self) -> int:
        """How many blocks there are."""
        return len(self.blocks)

    @property
    def device(self) -> torch.device:
        """Where the model computes."""
        return self.projections[0].weight.device

    def layers(self, text: str, suited: Sequence[int]) -> tuple[int, ...]:
        """Return the layers that a setting names.

        Args:
            text: Indices such as `14` or `12,14`, a range such as `15-28`, shares of the depth such as `0.5`; or
                empty.
            suited: What an empty text stands for.

        Raises:
            BadInput: It names none, or one that the model does not have.
        """
        try:
            found = sorted({layer for part in text.split(",") for layer in self._layers_of(part.strip())})
        except ValueError:
            raise BadInput(f"layers must be numbers such as 14, 12,14, 15-28 or 0.5, not {text!r}") from None
        found = found or sorted(set(suited))
        if not found or found[0] < 0 or found[-1] >= self.depth:
            raise BadInput(f"the model has layers 0 to {self.depth - 1}; name some of them, not {text!r}")
        return tuple(found)

    def _layers_of(self, part: str) -> Iterator[int]:
        first, dash, last = part.partition("-")
        if dash:
            yield from range(int(first), int(last) + 1)
        elif "." in part:
            yield min(round(float(part) * self.depth), self.depth - 1)
        elif part:
            yield int(part)


def anatomy_of(model: Any) -> Anatomy:
    """Find the parts of a model, freeze it, and check that they are what they seem.

    Raises:
        BadInput: It is built in another way, or says NaN.
    """
    model.eval().requires_grad_(False)
    body = model.get_decoder() if hasattr(model, "get_decoder") else model.base_model
    for holder, ending in KNOWN:
        blocks = tuple(getattr(body, holder, ()))
        maps = [getattr(getattr(block, "mlp", None), ending, None) for block in blocks]
        if blocks and None not in maps:
            anatomy = Anatomy(model, body, holder, blocks, tuple(Projection(module) for module in maps))
            _check(anatomy)
            return anatomy
    raise BadInput(
        f"{type(model).__name__} is built neither as Llama nor as GPT-2 is, so its layers were not found; "
        "detoxify a model of one of these families"
    )


@torch.no_grad()
def _check(anatomy: Anatomy) -> None:
    """Push what the first and the last projection put out, and see whether the blocks' outputs move by as much.

    Raises:
        BadInput: They do not, or the model says NaN.
    """
    kind = type(anatomy.model).__name__
    for place in sorted({0, anatomy.depth - 1}):
        plain = _output(anatomy, place)
        if not bool(plain.isfinite().all()):
            raise BadInput(f"{kind}: its states are NaN or infinite before any change; take a version that works")
        push = torch.linspace(-1, 1, plain.shape[-1], device=plain.device, dtype=plain.dtype)
        hook = anatomy.projections[place].module.register_forward_hook(lambda _, __, out, by=push: out + by)
        try:
            moved = _output(anatomy, place) - plain
        finally:
            hook.remove()
        if not torch.allclose(moved, push.expand_as(moved), atol=TOLERANCE * float(plain.abs().max().clamp(min=1))):
            raise BadInput(f"{kind}: what an MLP puts out is not added as it is; detoxify a model of the Llama family")


def _output(anatomy: Anatomy, layer: int) -> Tensor:
    size = int(anatomy.model.get_input_embeddings().weight.shape[0])
    ids = (torch.arange(PROBE_TOKENS, device=anatomy.device) * 7 + 3).remainder(size)[None]
    with reading(anatomy, [layer]) as seen:
        anatomy.model(input_ids=ids, use_cache=False)
    return seen[layer]


@contextmanager
def reading(anatomy: Anatomy, layers: Sequence[int]) -> Iterator[dict[int, Tensor]]:
    """Yield what these blocks put out in the last forward pass, shape (batch, tokens, width) each, by layer."""
    seen: dict[int, Tensor] = {}

    def keep(layer: int) -> Any:
        def hook(_: nn.Module, __: Any, out: Any) -> None:
            seen[layer] = out[0] if isinstance(out, tuple) else out

        return hook

    hooks = [anatomy.blocks[layer].register_forward_hook(keep(layer)) for layer in layers]
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()
