"""Prune the knowledge-critical subnetwork (Bayazit et al., 2023, arXiv 2310.03084): what only this knowledge needs.

A mask over the MLPs' neurons, or over single weights of their outputs, is learnt by straight-through sigmoids: what is
masked makes the forgotten answers as good as random (KL from uniform), leaves the kept as they were, and is as little
as possible. A step of AdamW moves every logit alike, so that all would cross at once: each is slowed by how little more
the forgotten need its part than the kept do, which is ours. What was pruned is a bitmap: with the parent's weights
beside it, it is undone bit for bit.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np
import torch
from safetensors.torch import load, save
from torch import Tensor, nn
from torch.nn import functional as F

from amends import Records, Task
from amends.operation.parameters import check_positive

from ..activations import Example
from ..packed import answer_logits, loss_of
from .adapting import training
from .gauge import gauge_of
from .loop import descend
from .material import Loss, Material, Settings, gather

Grain = Literal["neuron", "weight"]

KEEPING = 2.0  # where the logits of the masks begin: sigmoid(2) = .88, so that nothing is pruned yet
WEIGHED = 64  # kept records, at most, that say which parts the kept need
BITMAP = "subnetwork/bitmap.safetensors"


@dataclass(frozen=True)
class Masks:
    """Which parts of the adapted layers' MLP outputs are kept, by a logit each: above 0 is kept.

    Args:
        modules: The output projections W, shape (width, inner), by name.
        moved: How far each logit was moved, before it is slowed; for neurons of shape (inner,), for weights of W's.
        speeds: What that is multiplied by, from 0 to 1, of the same shapes.
    """

    modules: dict[str, nn.Linear]
    moved: dict[str, Tensor]
    speeds: dict[str, Tensor]

    def parameters(self) -> list[Tensor]:
        """Return what is trained, in the order of the names."""
        return [self.moved[name] for name in sorted(self.moved)]

    def logits(self, name: str) -> Tensor:
        """Return the logits of one layer's parts."""
        return KEEPING + self.speeds[name] * self.moved[name]

    @contextmanager
    def armed(self, model: Any) -> Iterator[None]:
        """Run with every output projection masked."""
        with ExitStack() as stack:
            for name, module in self.modules.items():
                stack.callback(_mask(module, partial(self.logits, name)).remove)
            yield

    @torch.no_grad()
    def settle(self, model: Any) -> None:
        """Set what is masked to 0."""
        for name, module in self.modules.items():
            module.weight.mul_(self.logits(name) > 0)

    def pruned(self) -> dict[str, Tensor]:
        """Return what is masked, by name, as truths."""
        return {name: (self.logits(name) <= 0).cpu() for name in self.modules}


def masks_of(model: Any, layers: int, grain: Grain) -> Masks:
    """Return masks over the top layers' MLP outputs that keep everything, and may all move as fast."""
    body = model.get_decoder()
    first = len(body.layers) - layers
    modules = {f"{first + place:03d}": layer.mlp.down_proj for place, layer in enumerate(body.layers[first:])}
    shapes = {name: m.weight.shape if grain == "weight" else m.weight.shape[1:] for name, m in modules.items()}
    moved, speeds = (
        {name: torch.full(shape, value, device=model.device) for name, shape in shapes.items()} for value in (0.0, 1.0)
    )
    return Masks(modules, moved, speeds)


def slowed(material: Material, masks: Masks, batch: int, fastest: float) -> Masks:
    """Return masks whose logits move the faster, the more the forgotten need a part and the less the kept do.

    How much records need a part is the mean over batches of the loss's absolute gradient by its mask.

    Args:
        material: The records of both.
        masks: Untouched.
        batch: Records that are weighed at once.
        fastest: Share of all parts that move at full speed.
    """
    kept = material.kept.few(WEIGHED)
    lost, others = (_needed(material, masks, some, batch) for some in (material.lost, kept))
    return Masks(masks.modules, masks.moved, speeds(lost, others, fastest))


def speeds(lost: Mapping[str, Tensor], kept: Mapping[str, Tensor], fastest: float) -> dict[str, Tensor]:
    """Return for each part a speed from 0 to 1: the forgotten's need over the kept's, of what a share reaches.

    Args:
        lost: How much the forgotten need each part.
        kept: The same of the kept, of the same shapes; never taken for less than its mean over all parts.
        fastest: The share of all parts that has speed 1.
    """
    every = torch.cat([needed.flatten() for needed in kept.values()])
    least = every.mean().clamp_min(torch.finfo(every.dtype).tiny)
    ratios = {name: needed / kept[name].clamp_min(least) for name, needed in lost.items()}
    flat = torch.cat([ratio.flatten() for ratio in ratios.values()])
    full = flat.topk(max(1, int(fastest * len(flat)))).values[-1].clamp_min(torch.finfo(flat.dtype).tiny)
    return {name: (ratio / full).clamp_max(1.0) for name, ratio in ratios.items()}


def _needed(material: Material, masks: Masks, examples: Sequence[Example], batch: int) -> dict[str, Tensor]:
    """Return how much some records need each part: the mean absolute gradient of their loss by its mask."""
    names = sorted(masks.moved)
    total = {name: torch.zeros_like(masks.moved[name]) for name in names}
    starts = range(0, len(examples), batch)
    with training(masks), masks.armed(material.model):
        for start in starts:
            material.heed()
            some = [examples[place] for place in range(start, min(start + batch, len(examples)))]
            loss = loss_of(material.model, some, material.layers)
            for name, gradient in zip(names, torch.autograd.grad(loss, masks.parameters()), strict=True):
                total[name] += gradient.abs() / len(starts)
    return total


def straight_through(logits: Tensor) -> Tensor:
    """Return 1 where a logit is above 0 and else 0, with the gradient of its sigmoid (Bengio et al., 2013)."""
    soft = logits.sigmoid()
    return (logits > 0).to(soft.dtype) + (soft - soft.detach())


def suppression(logits: Tensor) -> Tensor:
    """Return KL(uniform || model) at each place, in nats: 0 where the model says nothing of the answer.

    Args:
        logits: Shape (places, vocabulary).
    """
    return -logits.log_softmax(-1).mean(-1) - math.log(logits.shape[-1])


def sparsity(masks: Masks) -> Tensor:
    """Return the mean chance, over everything that could be pruned, that it is."""
    return torch.cat([1 - masks.logits(name).sigmoid().flatten() for name in sorted(masks.moved)]).mean()


def objective(material: Material, masks: Masks, sparse: float) -> Loss:
    """Return suppression of the forgotten and sparsity; the loop rehearses the kept."""

    def loss(places: Sequence[int]) -> Tensor:
        logits, _ = answer_logits(material.model, [material.lost[place] for place in places], material.layers)
        return suppression(logits).mean() + sparse * sparsity(masks)

    return loss


def unlearn(
    task: Task, forget: Records, retain: Records, settings: Settings, grain: Grain, sparse: float, fastest: float,
    control: Records | None = None,
) -> None:  # fmt: skip
    """Write the source's model without the subnetwork; the bitmap of what was pruned goes into the lineage's state."""
    check_positive("unlearning", sparse=sparse, fastest=fastest)
    material, settings = gather(task, forget, retain, settings)
    gauge = gauge_of(material, settings, control)
    material.never = None  # its level is all that is needed of it
    masks = slowed(material, masks_of(material.model, settings.layers, grain), settings.batch, fastest)
    descend(task, material, masks, settings, objective(material, masks, sparse), gauge)
    masks.settle(material.model)
    task.state.put(BITMAP, packed(masks.pruned()))
    task.save(material.model, material.tokenizer)


def packed(pruned: dict[str, Tensor]) -> bytes:
    """Return truths as bits, the same bytes for the same truths."""
    bits = {name: torch.from_numpy(np.packbits(found.numpy())) for name, found in pruned.items()}
    shapes = {f"{name}.shape": torch.tensor(found.shape) for name, found in pruned.items()}
    return bytes(save({**bits, **shapes}))


def unpacked(data: bytes) -> dict[str, Tensor]:
    """Return what `packed` was given."""
    found = load(data)
    made = {}
    for name in sorted(name for name in found if not name.endswith(".shape")):
        shape = found[f"{name}.shape"].tolist()
        bits = np.unpackbits(found[name].numpy())[: math.prod(shape)].astype(bool)
        made[name] = torch.from_numpy(bits).view(shape)
    return made


@torch.no_grad()
def undo(model: Any, parent: Any, bitmap: bytes) -> None:
    """Give a pruned model the parent's weights back where the bitmap says that they were taken; bit for bit."""
    layers, before = model.get_decoder().layers, parent.get_decoder().layers
    for name, gone in unpacked(bitmap).items():
        weight, old = (some[int(name)].mlp.down_proj.weight for some in (layers, before))
        weight.copy_(torch.where(gone.to(weight.device), old, weight))


def _mask(module: nn.Linear, logits: Callable[[], Tensor]) -> Any:
    """Mask what a layer reads, or its weights, and return the handle that takes the mask off."""
    if logits().dim() == 1:
        return module.register_forward_pre_hook(lambda _, given: (given[0] * straight_through(logits()),))
    return module.register_forward_hook(
        lambda layer, given, _: F.linear(given[0], layer.weight * straight_through(logits()), layer.bias)
    )
