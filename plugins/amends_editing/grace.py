"""GRACE: a codebook at one layer (Hartvigsen et al., 2023, "Aging with GRACE").

The codebook holds keys K, values V and radii eps. A token whose state h enters the layer's block within the radius
of its nearest key gets that key's value in place of what the block puts out (section 3.1):

    h_out = V_i   if d(h, K_i) <= eps_i, with i = argmin_j d(h, K_j),   else block(h)

d is the Euclidean distance. An edit adds a key, expands the nearest one or splits it (section 3.2, algorithm 1).
Every token is looked up rather than the last of the prompt alone: a prompt scored with its answer in one pass then
gives what generating after it gives, and nobody has to know where the prompt ended.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from amends import AmendsError, BadInput, Records, Task
from amends.operation.parameters import check_positive
from amends.serving.attaching import earlier
from amends_editing import attached
from amends_editing.codebook import KIND, Codebook, read
from amends_editing.structure import Anatomy, inspect_model
from amends_editing.tails import Row, Tails, prepare

DEPTH = 0.75  # of the blocks; the paper edits late ones, where prompts lie far apart


@dataclass(frozen=True)
class Settings:
    """How facts are learnt.

    Args:
        layer: Index of the block, not the first; None is three quarters up.
        radius: The first radius of a key, eps_init, as a share of the key's length, so that it fits any model.
        steps: At most so many for each value.
        lr: Adam's step, as a share of the root mean square of what the block puts out.
        stop: A value is done when its answer is greedy and the geometric mean of its tokens' probabilities passes this.
    """

    layer: int | None = None
    radius: float = 0.05
    steps: int = 100
    lr: float = 0.2
    stop: float = 0.9


def write(task: Task, edits: Records, settings: Settings) -> None:
    """Write the version that knows the edits beside those that its source knows.

    Raises:
        BadInput: A setting or an edit cannot be used.
        AmendsError: A value became NaN or infinite.
    """
    check_positive("editing.grace", radius=settings.radius, steps=settings.steps, lr=settings.lr)
    facts = attached.read_facts(edits, "editing.grace")
    model, tokenizer = task.load()
    anatomy = inspect_model(model)
    codebook = _begin(task, anatomy, settings.layer)
    for number, fact in enumerate(facts):
        task.progress(number, len(facts), "learning the codebook")
        for row in attached.asked_rows(tokenizer, fact):
            with codebook.armed(anatomy.blocks[codebook.layer]):
                learner = Learner(anatomy, row, codebook.layer, settings)
            radius = settings.radius * float(learner.key.norm())
            codebook.learn(learner.key, fact.target, radius, learner.solve, learner.holds)
    task.progress(len(facts), len(facts), "learning the codebook")
    tensors = {
        "keys": torch.stack(codebook.keys),
        "values": torch.stack(codebook.values),
        "radii": torch.tensor(codebook.radii, dtype=torch.float32),
    }
    attached.finish(task, KIND, {"layer": codebook.layer, "targets": codebook.targets}, tensors)


def _begin(task: Task, anatomy: Anatomy, layer: int | None) -> Codebook:
    """Return the source's codebook, to go on from, or an empty one."""
    old = earlier(task, KIND)
    if old is None:
        return Codebook(attached.pick_layer(anatomy, layer, DEPTH))
    codebook = read(old)
    if layer not in (None, codebook.layer):
        raise BadInput(f"the source's codebook is at layer {codebook.layer}; leave layer out, or give that one")
    return codebook


class Learner:
    """One prompt with its answer: its key, and the search for its value through the blocks above."""

    def __init__(self, anatomy: Anatomy, row: Row, layer: int, settings: Settings) -> None:
        self.anatomy, self.settings = anatomy, settings
        self.key = entering(anatomy, row, layer)
        self.tails: Tails = prepare(anatomy, [row], layer)
        self.wanted = self.tails.targets[0]
        self.here = self.tails.hidden[0, 0].detach()

    def solve(self) -> Tensor:
        """Return a value that gives the answer: argmin of -log p(y | x, v) by gradient, from what the block puts out.

        Raises:
            AmendsError: The search became NaN or infinite.
        """
        value = self.here.clone().requires_grad_(True)
        unit = self.here.pow(2).mean().sqrt().item()
        adam = torch.optim.Adam([value], lr=self.settings.lr * unit)
        for _ in range(self.settings.steps):
            logp, is_greedy = self._answer(value)
            if not torch.isfinite(logp):
                raise AmendsError("a codebook value became NaN or infinite; take a smaller lr")
            if is_greedy and float(logp.detach().exp()) >= self.settings.stop:
                break
            (value.grad,) = torch.autograd.grad(-logp, value)
            adam.step()
        return value.detach().cpu()

    @torch.no_grad()
    def holds(self, value: Tensor) -> bool:
        """Whether a value makes every token of the answer the likeliest one."""
        return self._answer(value.to(self.here))[1]

    def _answer(self, value: Tensor) -> tuple[Tensor, bool]:
        """Return the mean log-probability of the answer's tokens, and whether they are all greedy."""
        hidden = torch.cat([value[None, None], self.tails.hidden[:, 1:]], dim=1)
        places = self.wanted >= 0
        logp = self.anatomy.logits(self.tails.run(hidden)[0, places]).log_softmax(-1)
        wanted = self.wanted[places]
        return logp.gather(-1, wanted[:, None]).mean(), bool((logp.argmax(-1) == wanted).all())


@torch.no_grad()
def entering(anatomy: Anatomy, row: Row, layer: int) -> Tensor:
    """Return what enters a block at a row's place, when the row is run up to there, shape (width,)."""
    seen: list[Tensor] = []

    def note(_: nn.Module, args: Any, kwargs: Any) -> None:
        seen.append(args[0] if args else kwargs["hidden_states"])

    hook = anatomy.blocks[layer].register_forward_pre_hook(note, with_kwargs=True)
    try:
        tokens = torch.tensor([row.tokens[: row.subject + 1]], device=anatomy.device)
        anatomy.model(input_ids=tokens, use_cache=False)
    finally:
        hook.remove()
    return seen[0][0, -1].float().cpu()
