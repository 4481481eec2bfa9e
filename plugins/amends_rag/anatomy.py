"""Find the parts of a causal language model that grounding looks into, by inspecting it and not by its name."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
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
        raise BadInput(f"{type(model).__name__} has no list of equal blocks; this architecture cannot be grounded inside")
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
def reading(module: nn.Module, into: list[Tensor]) -> Iterator[None]:
    """Collect what goes into a module while the context lasts."""

    def note(_: nn.Module, args: Any, kwargs: Any) -> None:
        into.append(args[0] if args else kwargs["hidden_states"])

    hook = module.register_forward_pre_hook(note, with_kwargs=True)
    try:
        yield
    finally:
        hook.remove()
