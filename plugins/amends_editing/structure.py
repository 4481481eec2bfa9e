"""Find the parts of any causal language model by inspecting it, and check by numbers that they are what they seem.

Nothing here knows a model by its name. Blocks are the longest list of equal modules; a block's MLP output projection
is the last linear map that runs inside it and writes as wide as the residual stream; the final norm and the head are
whatever turns the last block's output into the logits. `inspect_model` then runs the model once and compares.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from amends import BadInput
from amends_editing.settings import layers_of

PROBE_TOKENS = 6
TOLERANCE = 1e-4  # of float32 sums in another order, relative to the largest value


@dataclass(frozen=True, eq=False)
class Projection:
    """The linear map that ends a block's MLP: from its inner width to the residual stream's.

    Args:
        name: Of its weight among the model's parameters.
        module: The map itself.
        is_transposed: Whether the weight is stored as (inner, width), as GPT-2's Conv1D does.
        writes_directly: Whether what it puts out is added to the residual stream as it is; Gemma norms it first.
    """

    name: str
    module: nn.Module
    is_transposed: bool
    writes_directly: bool

    @property
    def weight(self) -> Tensor:
        """The weight as mathematics writes it, a view, shape (width, inner)."""
        weight = self.module.weight
        assert isinstance(weight, Tensor)
        return weight.T if self.is_transposed else weight

    @torch.no_grad()
    def add(self, update: Tensor) -> None:
        """Add an update, shape (width, inner), to the weight."""
        self.weight.add_(update.to(self.weight))


@dataclass(frozen=True, eq=False)
class Anatomy:
    """The parts of a model that editing needs.

    Args:
        model: The `PreTrainedModel`.
        blocks: Its transformer blocks, in order.
        projections: The MLP output projection of each block.
        norm: The final norm.
        head: From the normed residual stream to the logits.
    """

    model: Any
    blocks: tuple[nn.Module, ...]
    projections: tuple[Projection, ...]
    norm: nn.Module
    head: nn.Module

    @property
    def width(self) -> int:
        """The residual stream's width."""
        return int(self.projections[0].weight.shape[0])

    @property
    def device(self) -> torch.device:
        """Where the model computes."""
        return self.projections[0].weight.device

    def logits(self, hidden: Tensor) -> Tensor:
        """Return the logits of the last block's output, shape (…, vocabulary)."""
        out: Tensor = self.head(self.norm(hidden))
        cap = getattr(getattr(self.model.config, "get_text_config", lambda: self.model.config)(),
                      "final_logit_softcapping", None)  # fmt: skip
        return cap * torch.tanh(out / cap) if cap else out

    def check_layers(self, layers: Sequence[int]) -> tuple[int, ...]:
        """Return layers in order.

        Raises:
            BadInput: There is none, or one that the model does not have.
        """
        return layers_of(layers, len(self.blocks))


def inspect_model(model: Any) -> Anatomy:
    """Find the parts of a model and check them on a short input.

    Raises:
        BadInput: A part was not found, or the numbers do not agree; the sentence says which.
    """
    model.eval().requires_grad_(False)
    parent, blocks = _blocks(model)
    head = model.get_output_embeddings()
    if head is None:
        raise BadInput(f"{_kind(model)} has no output head; editing needs a causal language model")
    if not bool(_run(model).isfinite().all()):
        raise BadInput(f"{_kind(model)}: its logits are NaN or infinite before any edit; take a version that works")
    norm = _final_norm(model, parent, blocks)
    projections = tuple(_projections(model, blocks))
    anatomy = Anatomy(model, blocks, projections, norm, head)
    _check_logits(anatomy)
    return anatomy


def _kind(model: Any) -> str:
    return type(model).__name__


def _blocks(model: nn.Module) -> tuple[nn.Module, tuple[nn.Module, ...]]:
    """Return the longest list of modules of one class, and the module that holds it."""
    best: tuple[nn.Module, tuple[nn.Module, ...]] | None = None
    for holder in model.modules():
        for child in holder.children():
            if isinstance(child, nn.ModuleList) and len({type(block) for block in child}) == 1:
                found = tuple(child)
                if best is None or len(found) > len(best[1]):
                    best = (holder, found)
    if best is None or len(best[1]) < 2:
        raise BadInput(f"{_kind(model)}: no list of two or more equal blocks was found, so it cannot be edited")
    return best


def _final_norm(model: nn.Module, parent: nn.Module, blocks: Sequence[nn.Module]) -> nn.Module:
    """Return the module beside the blocks that runs last, after them."""
    ran: list[nn.Module] = []
    beside = [child for child in parent.children() if not isinstance(child, nn.ModuleList)]
    hooks = [child.register_forward_hook(lambda module, *_: ran.append(module)) for child in beside]
    hooks.append(blocks[-1].register_forward_hook(lambda *_: ran.clear()))
    try:
        _run(model)
    finally:
        for hook in hooks:
            hook.remove()
    if len(ran) != 1:
        raise BadInput(f"{_kind(model)}: {len(ran)} modules run between the last block and the head, not one norm")
    return ran[0]


def _projections(model: nn.Module, blocks: Sequence[nn.Module]) -> Iterator[Projection]:
    names = {module: name for name, module in model.named_modules()}
    ran: list[nn.Module] = []
    width = int(_run(model, blocks[0]).shape[-1])
    linear = [m for block in blocks for m in block.modules() if _is_linear(m)]
    hooks = [module.register_forward_hook(lambda module, *_: ran.append(module)) for module in linear]
    try:
        _run(model)
    finally:
        for hook in hooks:
            hook.remove()
    direct = True
    for number, block in enumerate(blocks):
        inside = set(block.modules())
        writing = [m for m in ran if m in inside and _shape(m)[0] == width and _shape(m)[1] != 0]
        if not writing:
            raise BadInput(f"{_kind(model)}: block {number} has no linear map that writes to the residual stream")
        module = writing[-1]
        is_transposed = not isinstance(module, nn.Linear)
        if number in (0, len(blocks) - 1):  # they are of one class; the ends stand for the rest
            direct = _writes_directly(model, block, module)
        yield Projection(f"{names[module]}.weight", module, is_transposed, direct)


def _is_linear(module: nn.Module) -> bool:
    weight = getattr(module, "weight", None)
    return isinstance(module, nn.Linear) or (
        type(module).__name__ == "Conv1D" and isinstance(weight, Tensor) and weight.ndim == 2
    )


def _shape(module: nn.Module) -> tuple[int, int]:
    """Return how wide a linear map writes and reads."""
    weight = module.weight
    assert isinstance(weight, Tensor)
    first, second = (int(size) for size in weight.shape)
    return (first, second) if isinstance(module, nn.Linear) else (second, first)


@torch.no_grad()
def _run(model: nn.Module, until: nn.Module | None = None) -> Tensor:
    """Run a few tokens through the model; return the logits, or what one module puts out."""
    seen: list[Tensor] = []
    hook = None if until is None else until.register_forward_hook(lambda _, __, out: seen.append(first_of(out)))
    try:
        out = model(input_ids=_tokens(model), use_cache=False)
    finally:
        if hook is not None:
            hook.remove()
    return seen[-1] if seen else out.logits


def _tokens(model: Any) -> Tensor:
    size = int(model.get_input_embeddings().weight.shape[0])
    return (torch.arange(PROBE_TOKENS, device=model.device) * 7 + 3).remainder(size)[None]


def first_of(out: Any) -> Tensor:
    """Return the hidden states among what a block puts out."""
    found = out[0] if isinstance(out, tuple) else out
    assert isinstance(found, Tensor)
    return found


def _close(one: Tensor, other: Tensor) -> bool:
    return bool((one - other).abs().max() <= TOLERANCE * other.abs().max().clamp(min=1.0))


def _writes_directly(model: nn.Module, block: nn.Module, module: nn.Module) -> bool:
    """Push the projection's output at one token and see whether the block's output moves there by just as much.

    Raises:
        BadInput: Another token moved too: what was taken for the MLP feeds an attention.
    """
    plain = _run(model, block)
    push = torch.linspace(-1, 1, plain.shape[-1], device=plain.device, dtype=plain.dtype)

    def shift(_: nn.Module, __: Any, out: Tensor) -> Tensor:
        pushed = out.clone()
        pushed.view(-1, out.shape[-1])[-2] += push
        return pushed

    hook = module.register_forward_hook(shift)
    try:
        moved = _run(model, block) - plain
    finally:
        hook.remove()
    others = torch.cat([moved[:, :-2], moved[:, -1:]], dim=1)
    if not _close(others, torch.zeros_like(others)) or not moved[:, -2].abs().max() > 0:
        raise BadInput(f"{_kind(model)}: the last linear map of a block does not write to its own token alone")
    return _close(moved[0, -2], push)


def _check_logits(anatomy: Anatomy) -> None:
    expected = _run(anatomy.model)
    found = anatomy.logits(_run(anatomy.model, anatomy.blocks[-1]))
    if found.shape != expected.shape or not _close(found, expected):
        raise BadInput(
            f"{_kind(anatomy.model)}: norm and head do not give the model's own logits from its last block; "
            "this architecture is not supported yet"
        )


def accepts(model: nn.Module, argument: str) -> bool:
    """Whether a model's forward takes an argument of this name."""
    return argument in inspect.signature(model.forward).parameters


@contextmanager
def reading(module: nn.Module, into: list[Tensor]) -> Iterator[None]:
    """Collect what goes into a module while the context lasts."""
    hook = module.register_forward_pre_hook(lambda _, args: into.append(args[0]))
    try:
        yield
    finally:
        hook.remove()


class _Enough(Exception):
    """The last module that was wanted has run."""


@contextmanager
def ending_with(module: nn.Module) -> Iterator[None]:
    """End the context's pass once a module has run: nothing beyond it is computed."""

    def stop(*_: Any) -> None:
        raise _Enough

    hook = module.register_forward_hook(stop)
    try:
        with suppress(_Enough):
            yield
    finally:
        hook.remove()
