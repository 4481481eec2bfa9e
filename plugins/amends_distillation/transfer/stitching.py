"""Put the upper blocks of one model on the lower blocks of another (model stitching, Dar et al., 2023, section 4.3).

What passes between them goes through the map of the two residual streams over the shared vocabulary. Instead of running
beside the weights, the map is folded into them: the upper blocks are rewritten to read and write the stream of the
lower ones, with the gains of their norms. So the result is an ordinary model, whose embeddings and head are the lower
model's. Exact where the map is a rotation; elsewhere the norms see another length, which a constant makes up for.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from amends import BadInput, Task
from amends.operation.files import load_model
from amends_distillation.transfer.anatomy import BEFORE, MAPS, WRITING, Anatomy, anatomy_of
from amends_distillation.transfer.seats import COLUMNS, ROWS, grow
from amends_distillation.transfer.stages import Stages
from amends_distillation.transfer.vocabulary import Lens, kernel, shared_lenses


@dataclass(frozen=True)
class Seam:
    """Where two models are put together.

    Args:
        below: How many blocks of the source are kept, from the first on.
        above: How many blocks of the other model follow, up to its last.
        by: Which map between the residual streams: `lens` or `embedding`.
    """

    below: int
    above: int
    by: str

    def __post_init__(self) -> None:
        """Refuse a seam without a model on each side.

        Raises:
            BadInput: One side has no block.
        """
        if self.below < 1 or self.above < 1:
            raise BadInput(f"below is {self.below} and above {self.above}; each side of a seam needs a block")


def stitch(task: Task, seam: Seam) -> None:
    """Write the source's lower blocks with the upper blocks of `task.models["upper"]` on them."""
    stages = Stages(task)
    model, words = task.load()
    other, other_words = load_model(task.models["upper"], task.device)
    lower, upper = anatomy_of(model), anatomy_of(other)
    check(lower, upper, seam)
    upper.check_unbiased(WRITING)
    there, here = shared_lenses((upper, other_words), (lower, words))
    join(lower, upper, seam, (there, here), stages)
    stages.end("stitched the models")
    task.save(model, words)


def check(lower: Anatomy, upper: Anatomy, seam: Seam) -> None:
    """Refuse two models that have no common configuration.

    Raises:
        BadInput: A side is too shallow, or their heads or positions differ.
    """
    if seam.below > lower.depth or seam.above > upper.depth:
        raise BadInput(
            f"below is {seam.below} of {lower.depth} layers and above {seam.above} of {upper.depth}; take as many as "
            "there are, or fewer"
        )
    builds = [
        (model.linear(0, "q").out_features, model.linear(0, "v").out_features, model.head_size, _positions(model))
        for model in (lower, upper)
    ]
    if builds[0] != builds[1]:
        raise BadInput(
            "the heads or positions of the two models differ, so no configuration holds both; take two of one family"
        )


def _positions(model: Anatomy) -> str:
    config = model.model.config
    return f"{getattr(config, 'rope_theta', None)} {getattr(config, 'rope_parameters', None)}"


@torch.no_grad()
def join(lower: Anatomy, upper: Anatomy, seam: Seam, lenses: tuple[Lens, Lens], stages: Stages) -> None:
    """Give the lower model the upper blocks, in place.

    Args:
        lower: The model that is kept, and changed.
        upper: The other model, which is used up.
        seam: Where.
        lenses: Of the upper model and of the lower, over the tokens that they share.
        stages: Told how many blocks are rewritten.
    """
    there, here = lenses
    write, read = kernel(there, here, seam.by), kernel(here, there, seam.by)
    size = _longer(here.tokens, read)
    heed = stages.stage("rewriting the upper blocks", 0.0, 1.0)
    kept = list(lower.blocks[: seam.below])
    for number, layer in enumerate(range(upper.depth - seam.above, upper.depth)):
        heed(number, seam.above)
        _rewrite(upper, layer, write, size * read)
        kept.append(upper.blocks[layer])
    config = lower.model.config
    widest = max(_neurons(block) for block in kept)
    for number, block in enumerate(kept):
        _pad(block, widest - _neurons(block))
        attention: Any = block.get_submodule("self_attn")
        attention.layer_idx = number
    lower.model.model.layers = nn.ModuleList(kept)
    config.num_hidden_layers, config.intermediate_size = len(kept), widest
    config.head_dim = lower.head_size
    if getattr(config, "layer_types", None):
        config.layer_types = [config.layer_types[0]] * len(kept)


def _neurons(block: nn.Module) -> int:
    down: Any = block.get_submodule(MAPS["down"])
    return int(down.in_features)


def _pad(block: nn.Module, more: int) -> None:
    """Give an MLP neurons that write nothing, because all layers of a configuration are equally wide."""
    for name in (*ROWS, *COLUMNS):
        linear = block.get_submodule(MAPS[name])
        assert isinstance(linear, nn.Linear)
        grow(linear, more, of_rows=name in ROWS)


def _rewrite(upper: Anatomy, layer: int, write: Tensor, read: Tensor) -> None:
    """Let a block read and write the other residual stream; the gains of its norms go into what reads after them."""
    for name in MAPS:
        linear = upper.linear(layer, name)
        weight = linear.weight.double()
        if name in WRITING:
            made = write @ weight
        else:
            part = "mlp" if name in ROWS else "attention"
            made = (weight * upper.gain(layer, part).double()) @ read
        linear.weight = nn.Parameter(made.float(), requires_grad=False)
        linear.out_features, linear.in_features = made.shape
    for norm in BEFORE.values():
        module = upper.blocks[layer].get_submodule(norm)
        module.weight = nn.Parameter(torch.ones(write.shape[0], device=write.device), requires_grad=False)


def _longer(tokens: Tensor, read: Tensor) -> float:
    """Return the root mean square of tokens over that of what they are read as: what the norms would not see."""
    return float(tokens.square().mean().sqrt() / (tokens @ read.T).square().mean().sqrt())
