"""Find the parts of a causal language model that grounding looks into, by inspecting it and not by its name."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from amends import BadInput

TOKENS = 5  # of the short input that shows which maps run


def blocks_of(model: nn.Module) -> tuple[nn.Module, ...]:
    """Return the longest list of equal modules: a model's transformer blocks, in order.

    Raises:
        BadInput: There is no such list.
    """
    lists = [child for child in model.modules() if isinstance(child, nn.ModuleList)]
    equal = [tuple(some) for some in lists if len({type(block) for block in some}) == 1]
    found = max(equal, key=len, default=())
    if not found:
        raise BadInput(
            f"{type(model).__name__} has no list of equal blocks; this architecture cannot be grounded inside"
        )
    return found


def final_mlp(model: Any) -> nn.Module:
    """Return the module whose input is what the last block's MLP reads, the residual stream after its norm.

    The linear map that runs last in the block and writes as wide as the stream ends the MLP. What holds that map reads
    what is wanted; where the block itself holds it, as OPT's does, the wide map that ran before it does.

    Raises:
        BadInput: The block has no such map.
    """
    block = blocks_of(model)[-1]
    width = int(model.get_input_embeddings().weight.shape[-1])
    ran = _running(model, [module for module in block.modules() if is_linear(module)])
    ending = next((module for module in reversed(ran) if width in shape_of(module)), None)
    if ending is None:
        raise BadInput(f"{type(model).__name__}: no linear map of the last block writes to the residual stream")
    holder = next(child for child in block.children() if ending in set(child.modules()))
    if holder is not ending:
        return holder
    inner = next(size for size in shape_of(ending) if size != width)
    return next(module for module in reversed(ran) if module is not ending and set(shape_of(module)) == {width, inner})


@dataclass(frozen=True, eq=False)
class Attention:
    """The parts of a block's attention that a memory needs.

    Args:
        query: What puts out the queries before they are rotated: the projection, or the norm after it.
        key: The same of the keys.
        value: The projection to the values.
        output: The projection that reads the heads' outputs.
        heads: How many heads ask.
        size: How wide a head is.
    """

    query: nn.Module
    key: nn.Module
    value: nn.Module
    output: nn.Module
    heads: int
    size: int


def attention_of(model: Any, layer: int) -> Attention:
    """Return the attention of a block whose queries, keys and values come from projections of their own.

    Raises:
        BadInput: There is no such block, or its attention is built in another way.
    """
    blocks = blocks_of(model)
    if not 0 <= layer < len(blocks):
        raise BadInput(f"layer must be 0 to {len(blocks) - 1}, not {layer}")
    parts = {name.rpartition(".")[2]: module for name, module in blocks[layer].named_modules()}
    output = parts.get("o_proj") or parts.get("out_proj")
    if output is None or not {"q_proj", "k_proj", "v_proj"} <= parts.keys():
        raise BadInput(
            f"{type(model).__name__} has no separate projections of queries, keys and values; "
            "take rag.knn-lm or rag.context, which need none"
        )
    heads = int(model.config.get_text_config().num_attention_heads)
    size = max(shape_of(parts["q_proj"])[0] // heads, 1)
    query, key = (parts.get(f"{one}_norm") or parts[f"{one}_proj"] for one in "qk")
    return Attention(query, key, parts["v_proj"], output, heads, size)


def is_linear(module: nn.Module) -> bool:
    """Whether a module is a linear map: `nn.Linear`, or GPT-2's `Conv1D`."""
    return isinstance(module, nn.Linear) or type(module).__name__ == "Conv1D"


def shape_of(module: nn.Module) -> tuple[int, int]:
    """Return the two sizes of a linear map's weight, as they are stored."""
    weight = module.weight
    assert isinstance(weight, Tensor)
    return int(weight.shape[0]), int(weight.shape[1])


@torch.no_grad()
def _running(model: Any, modules: list[nn.Module]) -> list[nn.Module]:
    """Return these modules in the order in which they run."""
    ran: list[nn.Module] = []
    hooks = [module.register_forward_hook(lambda module, *_: ran.append(module)) for module in modules]
    try:
        model(input_ids=torch.arange(TOKENS, device=model.device)[None], use_cache=False)
    finally:
        for hook in hooks:
            hook.remove()
    return ran


@contextmanager
def hearing(module: nn.Module, into: list[Tensor]) -> Iterator[None]:
    """Collect what a module puts out while the context lasts."""
    hook = module.register_forward_hook(lambda _, __, out: into.append(out))
    try:
        yield
    finally:
        hook.remove()


@contextmanager
def reading(module: nn.Module, into: list[Tensor]) -> Iterator[None]:
    """Collect what goes into a module while the context lasts."""

    def note(_: nn.Module, args: Any, kwargs: Any) -> None:
        into.append(args[0] if args else kwargs["hidden_states"])

    hook = module.register_forward_pre_hook(note, with_kwargs=True)
    try:
        yield
    finally:
        hook.remove()
