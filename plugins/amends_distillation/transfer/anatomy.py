"""Find the seven linear maps of every block, the final norm and the head, in models built as Llama is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from amends import BadInput

MAPS: Mapping[str, str] = {
    "q": "self_attn.q_proj", "k": "self_attn.k_proj", "v": "self_attn.v_proj", "o": "self_attn.o_proj",
    "gate": "mlp.gate_proj", "up": "mlp.up_proj", "down": "mlp.down_proj",
}  # fmt: skip
WRITING = ("o", "down")
BEFORE = {"attention": "input_layernorm", "mlp": "post_attention_layernorm"}
NORMED_AGAIN = ("post_feedforward_layernorm", "post_self_attn_layernorm")


@dataclass(frozen=True, eq=False)
class Anatomy:
    """The parts of a model.

    Args:
        model: The `PreTrainedModel`, frozen.
        blocks: Its transformer blocks, in order.
        norm: The final norm.
    """

    model: Any
    blocks: tuple[nn.Module, ...]
    norm: nn.Module

    @property
    def depth(self) -> int:
        """How many blocks there are."""
        return len(self.blocks)

    @property
    def width(self) -> int:
        """The residual stream's width."""
        return int(self.linear(0, "down").weight.shape[0])

    @property
    def device(self) -> torch.device:
        """Where the model computes."""
        return self.linear(0, "down").weight.device

    def linear(self, layer: int, name: str) -> nn.Linear:
        """Return one linear map of a block."""
        found = self.blocks[layer].get_submodule(MAPS[name])
        assert isinstance(found, nn.Linear)
        return found

    def weight(self, layer: int, name: str) -> Tensor:
        """Return the weight of one linear map, shape (out, in)."""
        return self.linear(layer, name).weight

    def maps(self) -> Iterator[tuple[int, str, nn.Linear]]:
        """Yield every linear map with its layer and its name, in a fixed order."""
        for layer in range(self.depth):
            for name in MAPS:
                yield layer, name, self.linear(layer, name)

    def head(self) -> Tensor:
        """Return the output embeddings, shape (vocabulary, width)."""
        weight: Tensor = self.model.get_output_embeddings().weight
        return weight

    @torch.no_grad()
    def gain(self, layer: int | None = None, part: str = "mlp") -> Tensor:
        """Return the gain of an RMS norm, shape (width,): what it makes of ones.

        Args:
            layer: The block whose norm is meant; the final norm without one.
            part: Before which part of the block it stands, `attention` or `mlp`.
        """
        norm = self.norm if layer is None else self.blocks[layer].get_submodule(BEFORE[part])
        made: Tensor = norm(torch.ones(self.width, device=self.device))
        return made

    @property
    def group(self) -> int:
        """How many heads of attention share a value."""
        return int(self.linear(0, "o").in_features // self.linear(0, "v").out_features)

    @property
    def head_size(self) -> int:
        """The width of a head of attention."""
        return int(self.linear(0, "o").in_features // self.model.config.num_attention_heads)

    def check_unbiased(self, names: Sequence[str]) -> None:
        """Refuse a model some of whose maps add a bias, which would be left behind.

        Raises:
            BadInput: One does.
        """
        for layer, name, linear in self.maps():
            if name in names and linear.bias is not None:
                raise BadInput(
                    f"{name} of layer {layer} adds a bias, which cannot be carried; take a version without biases there"
                )

    def check_direct(self) -> None:
        """Refuse a model whose blocks norm what they write before adding it: a lens on it would see something else.

        Raises:
            BadInput: They do.
        """
        if any(hasattr(self.blocks[0], name) for name in NORMED_AGAIN):
            raise BadInput(
                f"{type(self.model).__name__} norms what its blocks write before adding it, so it cannot be read in "
                "the vocabulary; take a model built as Llama is"
            )


def anatomy_of(model: Any) -> Anatomy:
    """Find the parts of a model, and freeze it.

    Raises:
        BadInput: It is built in another way.
    """
    model.eval().requires_grad_(False)
    body = getattr(model, "model", None)
    blocks, norm = tuple(getattr(body, "layers", ())), getattr(body, "norm", None)
    whole = bool(blocks) and norm is not None and model.get_output_embeddings() is not None
    if not whole or not all(_has_maps(block) for block in blocks):
        raise BadInput(
            f"{type(model).__name__} is not built as Llama is (q, k, v, o, gate, up and down in every block), so "
            "nothing can be carried into or out of it; take a model of that family"
        )
    assert isinstance(norm, nn.Module)
    return Anatomy(model, blocks, norm)


def _has_maps(block: nn.Module) -> bool:
    modules = dict(block.named_modules())
    return all(isinstance(modules.get(name), nn.Linear) for name in MAPS.values())
