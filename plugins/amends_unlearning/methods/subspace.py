"""Project a concept's subspace out of what a layer reads, in closed form (after LEACE: Belrose et al., 2023).

The keys of the forgotten answers, whitened by the second moment of the kept ones, span what the forgotten use and the
kept do not. Projecting orthogonally in that metric is, seen from outside, the oblique projection that takes those
directions away and moves the kept least: W' = W M^(1/2) (I - U U^T) M^(-1/2). No step is taken; how many directions go
is found on the method's half of the records.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from amends import Records, Task
from amends.operation.parameters import check_positive

from ..activations import Example
from ..packed import answer_places, grouped, laid_out, run_layers
from .adapting import Whole, copied, put_back
from .gauge import Nearest, gauge_of
from .material import Material, Settings, gather
from .resuming import Resumable

RANKS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
KEPT = 64  # kept records whose keys are read


@dataclass(frozen=True)
class Metric:
    """The second moment M of the kept keys, by its square root and that root's inverse, (inner, inner), float64."""

    root: Tensor
    inverse: Tensor


def metric_of(keys: Tensor, ridge: float) -> Metric:
    """Return the metric of keys, shape (inner, places), shrunk by a share of its mean eigenvalue."""
    moment = keys @ keys.T / keys.shape[1]
    moment.diagonal().add_(ridge * moment.diagonal().mean())
    values, vectors = torch.linalg.eigh(moment)
    return Metric(vectors * values.sqrt() @ vectors.T, vectors / values.sqrt() @ vectors.T)


def directions(metric: Metric, keys: Tensor, rank: int) -> Tensor:
    """Return U, the `rank` whitened directions that hold most of the forgotten keys, shape (inner, rank)."""
    found: Tensor = torch.linalg.svd(metric.inverse @ keys, full_matrices=False).U
    return found[:, :rank]


def without(weight: Tensor, metric: Metric, subspace: Tensor) -> Tensor:
    """Return W M^(1/2) (I - U U^T) M^(-1/2), shape (width, inner)."""
    whitened = weight @ metric.root
    return (whitened - whitened @ subspace @ subspace.T) @ metric.inverse


def unlearn(
    task: Task, forget: Records, retain: Records, settings: Settings, ridge: float, control: Records | None = None
) -> None:
    """Write the source's model with as many directions taken out of its adapted layers' MLPs as it takes."""
    check_positive("unlearning", ridge=ridge)
    material, settings = gather(task, forget, retain, settings)
    gauge = gauge_of(material, settings, control)
    material.never = None  # its level is all that is needed of it
    outputs = [layer.mlp.down_proj for layer in material.model.get_decoder().layers[-material.layers :]]
    weights = Whole([module.weight for module in outputs])
    best = Nearest(gauge, copied(weights))
    before = best.state
    run = Resumable(task, material, settings, weights, best=best)
    done = run.begin()
    for number, rank in enumerate(RANKS[done:], start=done + 1):
        task.progress(number - 1, len(RANKS), "finding how many directions to take out")
        put_back(weights, before)
        take_out(material, outputs, rank, ridge)
        above, fallen = best.look(lambda: copied(weights))
        if above <= 0 or fallen > 2 * settings.spare:
            break
        run.keep(number)
    put_back(weights, best.state)
    task.save(material.model, material.tokenizer)


@torch.no_grad()
def take_out(material: Material, outputs: list[nn.Linear], rank: int, ridge: float) -> None:
    """Project layer after layer, each as the ones below it are by then."""
    kept = material.kept.few(KEPT)
    for above, module in enumerate(outputs, start=1):
        metric = metric_of(keys_at(material, kept, module, above), ridge)
        subspace = directions(metric, keys_at(material, material.lost, module, above), rank)
        module.weight.copy_(without(module.weight.double(), metric, subspace))


@torch.no_grad()
def keys_at(material: Material, examples: Sequence[Example], module: nn.Linear, until: int) -> Tensor:
    """Return what a linear layer reads where answers' tokens are predicted, shape (inner, places), float64.

    Args:
        material: Whose model.
        examples: What it reads.
        module: The layer.
        until: In which of the adapted layers it is, from 1 on; none above it is run.
    """
    found: list[Tensor] = []
    body = material.model.get_decoder()
    first = len(body.layers) - material.layers
    for group in grouped([len(example.hidden) for example in examples]):
        some = [examples[place] for place in group]
        places = answer_places(some)[0]
        hook = module.register_forward_pre_hook(
            lambda _, given, at=places: found.append(given[0].flatten(0, 1).index_select(0, at).double())
        )
        try:
            run_layers(body, *laid_out(some), first, first + until)
        finally:
            hook.remove()
    return torch.cat(found).T
