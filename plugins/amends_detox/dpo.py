"""Direct preference optimisation (Rafailov et al., 2023): the neutral text rather than the toxic one.

Two anchors keep what is not asked for: the preference is measured against the parent, as in the paper, and text that
is to stay is told as the parent tells it, by the divergence between them.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from amends import BadInput, Records, Task
from amends.operation.descent import check_weights, descend, draws
from amends.operation.parameters import check_positive
from amends_detox.anatomy import Anatomy, anatomy_of
from amends_detox.lowrank import LowRank, fresh
from amends_detox.pairs import Pair, read_texts, tokens_of
from amends_detox.passes import Example, Heed, answer_logits, answer_logp, check_passes, examples_of, sums
from amends_detox.stages import stage
from amends_detox.training import Settings


def dpo_loss(chosen: Tensor, rejected: Tensor, beta: float) -> Tensor:
    """Return the preference loss (Rafailov et al., 2023, eq. 7).

    Args:
        chosen: Log-likelihood of each neutral text under the model minus that under the frozen parent, in nats, shape
            (batch,).
        rejected: The same of each toxic text.
        beta: Inverse temperature; the smaller, the further from the parent.
    """
    return -F.logsigmoid(beta * (chosen - rejected)).mean()


def divergence(parent: Tensor, model: Tensor) -> Tensor:
    """Return the mean of KL(parent || model) over places, in nats, from logits of shape (places, vocabulary)."""
    return F.kl_div(model.log_softmax(-1), parent.log_softmax(-1), reduction="none", log_target=True).sum(-1).mean()


def train(
    task: Task,
    pairs: Sequence[Pair],
    retain: Records | None,
    settings: Settings,
    beta: float,
    keep: float,
    strength: float,
) -> None:
    """Write the source's model with a low-rank change that prefers the neutral texts.

    Args:
        task: The task.
        pairs: What is preferred to what.
        retain: Texts that are to be told as before; where there are none, the neutral ones are.
        settings: How to train.
        beta: See `dpo_loss`.
        keep: Weight of the divergence on what is to stay.
        strength: How many times the change is merged.
    """
    check_positive("detox.dpo", beta=beta)
    if not keep >= 0:
        raise BadInput(f"keep is {keep}; it cannot be below zero")
    kept = read_texts(retain)
    model, tokenizer = task.load()
    anatomy = anatomy_of(model)
    change = fresh(anatomy, settings.layers, settings.rank, task.seed)
    first = anatomy.depth - settings.layers
    check_passes(anatomy, first)
    texts = [tokens_of(tokenizer, pair.prompt, side) for pair in pairs for side in (pair.neutral, pair.toxic)]
    texts += [tokens_of(tokenizer, "", text) for text in kept]
    total = 2 * len(texts) + 2 * settings.steps
    made = examples_of(anatomy, texts, first, stage(task, "reading texts", 0, len(texts), total))
    preference = Preference(anatomy, first, made[: 2 * len(pairs)], made[2 * len(pairs) :], beta, keep)
    preference.read_parent(stage(task, "asking the parent", len(texts), len(texts), total))
    told = stage(task, "preferring the neutral texts", 2 * len(texts), 2 * settings.steps, total)
    prefer(preference, change, settings, task.seed, told)
    change.merge(strength)
    check_weights(anatomy.model)
    task.progress(total, total, "preferred")
    task.save(model, tokenizer)


class Preference:
    """What the loss of a step needs.

    Args:
        anatomy: Of the model.
        first: The first of the changed blocks.
        both: The neutral and the toxic text of each pair, in turn.
        kept: What is to be told as before; where there is nothing, the neutral texts of the step.
        beta: See `dpo_loss`.
        keep: Weight of the divergence.
    """

    def __init__(
        self,
        anatomy: Anatomy,
        first: int,
        both: Sequence[Example],
        kept: Sequence[Example],
        beta: float,
        keep: float,
    ) -> None:
        self.anatomy, self.first, self.both, self.kept = anatomy, first, both, kept
        self.beta, self.keep = beta, keep
        self.parent = torch.zeros(len(both))

    @torch.no_grad()
    def read_parent(self, heed: Heed) -> None:
        """Ask the parent once how likely each text is."""
        for place, example in enumerate(self.both):
            heed(place, len(self.both))
            self.parent[place] = answer_logp(self.anatomy, [example], self.first)[0].sum()

    def loss(self, change: LowRank, pairs: Sequence[int], others: Sequence[int]) -> Tensor:
        """Return the preference loss of some pairs, and the weighted divergence on what is to stay."""
        places = [2 * pair for pair in pairs] + [2 * pair + 1 for pair in pairs]
        asked = [self.both[place] for place in places]
        held = [self.kept[other] for other in others] if self.kept else asked[: len(pairs)]
        with torch.no_grad():
            before, _ = answer_logits(self.anatomy, held, self.first)
        with change.armed():
            logits, owner = answer_logits(self.anatomy, asked, self.first)
            after = answer_logits(self.anatomy, held, self.first)[0] if self.kept else logits[: len(before)]
        target = torch.cat([example.answer for example in asked])
        ratio = sums(-F.cross_entropy(logits, target, reduction="none"), owner, len(asked))
        chosen, rejected = (ratio - self.parent[places].to(ratio)).chunk(2)
        return dpo_loss(chosen, rejected, self.beta) + self.keep * divergence(before, after)


def prefer(preference: Preference, change: LowRank, settings: Settings, seed: int, told: Heed) -> None:
    """Train the change on the preference, with batches of pairs and of kept texts drawn from the seed."""
    order = draws(len(preference.both) // 2, settings.batch, seed)
    others = draws(max(len(preference.kept), 1), settings.batch, seed + 1)

    def loss_at(step: int) -> Tensor:
        told(step, settings.steps)
        return preference.loss(change, next(order), next(others))

    descend(change.parameters(), settings.steps, settings.lr, loss_at)
