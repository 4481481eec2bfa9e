"""WISE: a side memory for edits, and a router (Wang et al., 2024, "WISE: Rethinking the Knowledge Memory").

The side memory W' is a copy of one layer's MLP output projection W, trained on the edits. With A(x) what enters the
projection, a prompt is routed by how much the two disagree (eq. 2), here the mean over the prompt's tokens:

    D(x) = || A(x) (W' - W) ||_2,     output = A(x) W'  if D(x) > eps,  else  A(x) W        (eq. 3)

W' is trained with the margin loss of eq. 4 beside the likelihood of the answers (eq. 5). The margins alpha, beta and
gamma are shares of the length of A(x) W over the edits, so that they fit any model. Each of several shards of the
edits is trained under its own random mask (eq. 6), and they are merged with TIES (eq. 7; Yadav et al., 2023).
A later run adds a memory of its own; a prompt goes to the one that it activates most, by its own threshold
(section 2.3.3, retrieval), and the earlier memories stay as they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from amends import AmendsError, BadInput, Records, Task
from amends.operation.parameters import check_positive
from amends.serving.attaching import earlier
from amends_editing import attached
from amends_editing.facts import Fact
from amends_editing.memories import KIND, activation_of_each, activations, beside
from amends_editing.structure import Anatomy, inspect_model
from amends_editing.tails import Row, Tails, prepare

DEPTH = 0.8  # of the blocks; the paper edits the 27th of 32
NEUTRAL = (
    "The train to the coast leaves at",
    "To bake bread one needs flour, water and",
    "The sum of two and three is",
    "In spring the days become",
    "What is the capital of the country?",
    "He wrote the letter because",
    "Water boils at a temperature of",
    "Name three colours of the rainbow.",
)
STAND_INS = ("the old library", "Anna", "a small company", "the river", "Mr. Jones", "this city")


@dataclass(frozen=True)
class Settings:
    """How a side memory is trained.

    Args:
        layer: Index of the block, not the first; None is four fifths up.
        steps: At most so many; each sees every edit of the shard.
        lr: Adam's step, as a share of the root mean square of W.
        stop: Training ends when the geometric mean of each answer's probability passes this and no margin is broken.
        alpha: What is irrelevant stays below this.
        beta: Edits lie above this.
        gamma: They lie apart by this.
        shards: How many parts of the edits are trained apart, then merged.
        density: The share of the weights that each of several shards may change.
    """

    layer: int | None = None
    steps: int = 60
    lr: float = 0.02
    stop: float = 0.9
    alpha: float = 0.1
    beta: float = 0.4
    gamma: float = 0.2
    shards: int = 1
    density: float = 0.2


def margin_loss(edits: Tensor, irrelevant: Tensor, alpha: float, beta: float, gamma: float) -> Tensor:
    """Return the margin loss of eq. 4, a mean over pairs.

    Args:
        edits: D(x_e), shape (edits,).
        irrelevant: D(x_i), shape (others,).
        alpha: Upper bound of the irrelevant.
        beta: Lower bound of the edits.
        gamma: How far they lie apart.
    """
    apart = edits[:, None] - irrelevant[None, :]
    return F.relu(irrelevant - alpha).mean() + F.relu(beta - edits).mean() + F.relu(gamma - apart).mean()


def ties(changes: Tensor, density: float) -> Tensor:
    """Merge changes of one weight: trim, elect a sign, take the mean of those that agree (Yadav et al., 2023).

    Args:
        changes: Shape (shards, width, inner).
        density: The share of each change that is kept, the largest.
    """
    flat = changes.reshape(len(changes), -1)
    kept = max(1, int(density * flat.shape[1]))
    least = flat.abs().topk(kept, dim=1).values[:, -1:]
    trimmed = torch.where(flat.abs() >= least, flat, torch.zeros_like(flat))
    elected = trimmed.sum(0).sign()
    agree = (trimmed.sign() == elected) & (trimmed != 0)
    merged = (trimmed * agree).sum(0) / agree.sum(0).clamp(min=1)
    return merged.view_as(changes[0])


def threshold_between(edits: Tensor, irrelevant: Tensor) -> float:
    """Return eps: half the way from the most active irrelevant prompt to the least active edit.

    The paper takes the least active edit itself; half the way leaves room for other words.

    Raises:
        AmendsError: The router could not tell them apart.
    """
    low, high = float(irrelevant.max()), float(edits.min())
    if not low < high:
        raise AmendsError("the router cannot tell the edits from other prompts; take more steps or larger margins")
    return (low + high) / 2


class Trainer:
    """Trains the side memory of some edits on a frozen model."""

    def __init__(self, anatomy: Anatomy, tokenizer: Any, facts: Sequence[Fact], layer: int, settings: Settings) -> None:
        self.anatomy, self.settings, self.facts = anatomy, settings, facts
        self.projection = anatomy.projections[layer]
        rows = [row for fact in facts for row in attached.asked_rows(tokenizer, fact)]
        whole = [Row(row.tokens, 0, row.targets) for row in rows]  # the memory answers every token, not the last alone
        self.tails = [prepare(anatomy, [row], layer - 1) for row in whole]
        self.inner = [activations(anatomy, layer, tokenizer, fact.prompt) for fact in facts]
        others = irrelevant_prompts(facts)
        self.others = [activations(anatomy, layer, tokenizer, prompt) for prompt in others]
        with torch.no_grad():
            plain = [F.linear(inner, self.projection.weight).norm(dim=-1).mean() for inner in self.inner]
        self.unit = float(torch.stack(plain).mean())

    def active(self, change: Tensor) -> tuple[Tensor, Tensor]:
        """Return D(x) of the edits and of what is irrelevant, in units of what the projection puts out."""
        edits, others = (activation_of_each(some, change) / self.unit for some in (self.inner, self.others))
        return edits, others

    def train(self, mask: Tensor | None, report: Any) -> Tensor:
        """Return W' - W after training under a mask (eqs. 4 to 6), shape (width, inner).

        Raises:
            AmendsError: The loss became NaN or infinite.
        """
        change = torch.zeros_like(self.projection.weight, requires_grad=True)
        unit = float(self.projection.weight.pow(2).mean().sqrt())
        adam = torch.optim.Adam([change], lr=self.settings.lr * unit)
        for step in range(self.settings.steps):
            report(step)
            gradient, likely, margin = self._gradient(change)
            if not gradient.isfinite().all():
                raise AmendsError("the side memory became NaN or infinite; take a smaller lr")
            if likely >= self.settings.stop and margin == 0:
                break
            change.grad = gradient if mask is None else gradient * mask
            adam.step()
        return change.detach()

    def _gradient(self, change: Tensor) -> tuple[Tensor, float, float]:
        """Return the gradient of eq. 5, the least of the answers' probabilities, and the margin loss."""
        total, likely = torch.zeros_like(change), 1.0
        for tails in self.tails:  # one at a time: no padding, and never more than one graph in memory
            logp = self._answer(tails, change)
            total += torch.autograd.grad(-logp, change)[0] / len(self.tails)
            likely = min(likely, float(logp.detach().exp()))
        edits, others = self.active(change)
        loss = margin_loss(edits, others, self.settings.alpha, self.settings.beta, self.settings.gamma)
        total += torch.autograd.grad(loss, change)[0]
        return total, likely, float(loss.detach())

    def _answer(self, tails: Tails, change: Tensor) -> Tensor:
        """Return the mean log-probability of a row's answer through the side memory."""
        wanted = tails.targets[0]
        with beside(self.projection, change):
            out = tails.run(tails.hidden)[0, wanted >= 0]
        logp = self.anatomy.logits(out).log_softmax(-1)
        return logp.gather(-1, wanted[wanted >= 0][:, None]).mean()


def irrelevant_prompts(facts: Sequence[Fact]) -> list[str]:
    """Return D_irr: the edits' neighbours, the edits' sentences about others, and sentences about nothing of it."""
    neighbours = [question.prompt for fact in facts for question in fact.neighbours]
    subjects = {fact.subject for fact in facts}
    others = [
        fact.prompt.replace(fact.subject, name) for fact in facts for name in STAND_INS[:3] if name not in subjects
    ]
    return list(dict.fromkeys([*neighbours, *others, *NEUTRAL]))


def write(task: Task, edits: Records, settings: Settings) -> None:
    """Write the version with a side memory of the edits beside the memories that its source has.

    Raises:
        BadInput: A setting or an edit cannot be used.
        AmendsError: Training failed, or the router cannot tell the edits from other prompts.
    """
    check(settings)
    facts = attached.read_facts(edits, "editing.wise")
    model, tokenizer = task.load()
    anatomy = inspect_model(model)
    layer = attached.pick_layer(anatomy, settings.layer, DEPTH)
    change = _memory(task, anatomy, tokenizer, facts, layer, settings)
    router = Trainer(anatomy, tokenizer, facts, layer, settings)
    with torch.no_grad():
        threshold = router.unit * threshold_between(*router.active(change))
    old = earlier(task, KIND)
    data, tensors = attached.read(old, KIND) if old else ([], {})
    name = f"memory-{len(data):04d}"
    data = [*data, {"name": name, "layer": layer, "threshold": threshold}]
    attached.finish(task, KIND, data, {**tensors, name: change})


def check(settings: Settings) -> None:
    """Refuse settings that make no memory.

    Raises:
        BadInput: One cannot be used.
    """
    check_positive("editing.wise", steps=settings.steps, lr=settings.lr, shards=settings.shards)
    if not 0 < settings.density <= 1:
        raise BadInput("editing.wise: density must be above 0 and at most 1")
    if not 0 <= settings.alpha < settings.beta:
        raise BadInput("editing.wise: alpha must be 0 or more, and below beta")


def _memory(
    task: Task, anatomy: Anatomy, tokenizer: Any, facts: Sequence[Fact], layer: int, settings: Settings
) -> Tensor:
    """Train each shard of the edits and merge them."""
    parts = [facts[number :: settings.shards] for number in range(settings.shards)]
    parts = [part for part in parts if part]
    generator = torch.Generator().manual_seed(task.seed)
    changes, total = [], len(parts) * settings.steps
    for number, part in enumerate(parts):
        done = number * settings.steps
        trainer = Trainer(anatomy, tokenizer, part, layer, settings)
        mask = _mask(trainer.projection.weight, settings.density, generator) if len(parts) > 1 else None
        changes.append(trainer.train(mask, lambda step, done=done: task.progress(done + step, total, "training")))
    task.progress(total, total, "training")
    return changes[0] if len(changes) == 1 else ties(torch.stack(changes), settings.density)


def _mask(weight: Tensor, density: float, generator: torch.Generator) -> Tensor:
    """Return a random mask M of eq. 6, shape (width, inner)."""
    return (torch.rand(weight.shape, generator=generator) < density).to(weight)
