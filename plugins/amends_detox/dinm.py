"""Detoxifying with intraoperative neural monitoring (DINM, Wang et al., 2024): one instance after another.

For each instance the layer where a safe and an unsafe answer lie furthest apart is taken for the toxic one, anew each
time, and its MLP's output projection alone is tuned until the safe answer is likely.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from amends import BadInput, Records, Task
from amends.operation.descent import check_weights, descend, draws
from amends.operation.parameters import check_positive
from amends_detox.anatomy import Anatomy, anatomy_of, reading
from amends_detox.dpo import divergence
from amends_detox.negate import token_loss
from amends_detox.pairs import Pair, Tokens, read_texts, tokens_of
from amends_detox.passes import answer_logits, check_passes, examples_of
from amends_detox.stages import stage

ANCHORS = 4  # texts that are to stay, in each step


@dataclass(frozen=True)
class Settings:
    """How an instance is tuned.

    Args:
        steps: Steps of AdamW for each instance.
        lr: Its learning rate.
        safe: Weight of the safe answer's loss; the paper's c_edit.
        keep: Weight of the divergence from the parent on what is to stay.
    """

    steps: int
    lr: float
    safe: float
    keep: float

    def __post_init__(self) -> None:
        """Refuse settings that tune nothing."""
        check_positive("detox.dinm", steps=self.steps, lr=self.lr, safe=self.safe)
        if not self.keep >= 0:
            raise BadInput(f"keep is {self.keep}; it cannot be below zero")


@torch.no_grad()
def toxic_layer(anatomy: Anatomy, safe: Tokens, unsafe: Tokens) -> int:
    """Return the layer at which the states of two answers' last tokens lie furthest apart (DINM, Wang et al., 2024).

    Those of the last layer are not compared: they are ready to be read out, and differ wherever the words do.
    """
    layers = range(max(anatomy.depth - 1, 1))
    ends = []
    for text in (safe, unsafe):
        with reading(anatomy, layers) as seen:
            anatomy.body(input_ids=torch.tensor([text.ids], device=anatomy.device), use_cache=False)
        ends.append(torch.stack([seen[layer][0, -1].double() for layer in layers]))
    return int((ends[0] - ends[1]).norm(dim=-1).argmax())


def edit(task: Task, pairs: Sequence[Pair], retain: Records | None, settings: Settings) -> None:
    """Write the source's model with each instance's toxic layer tuned, in the order of the pairs.

    Args:
        task: The task.
        pairs: Instances: a prompt, the unsafe and the safe answer.
        retain: Texts that are to be told as before; where there are none, the safe answers of the other pairs are.
        settings: How to tune.
    """
    kept = read_texts(retain)
    if len(pairs) == 1 and not kept:
        raise BadInput("with a single pair nothing says what is to stay; give texts to retain, or more pairs")
    model, tokenizer = task.load()
    anatomy = anatomy_of(model)
    check_passes(anatomy, 0)
    texts = [tokens_of(tokenizer, "", text) for text in kept]
    safe = [tokens_of(tokenizer, pair.prompt, pair.neutral) for pair in pairs]
    unsafe = [tokens_of(tokenizer, pair.prompt, pair.toxic) for pair in pairs]
    total = len(pairs) * settings.steps
    heed = stage(task, "tuning the toxic layer of each instance", 0, total, total)
    for number in range(len(pairs)):

        def told(step: int, before: int = number * settings.steps) -> None:
            heed(before + step, total)

        told(0)
        others = texts or [*safe[:number], *safe[number + 1 :]]
        chosen = next(draws(len(others), min(ANCHORS, len(others)), task.seed + number))
        layer = toxic_layer(anatomy, safe[number], unsafe[number])
        tune(anatomy, layer, safe[number], [others[place] for place in chosen], settings, told)
    check_weights(anatomy.model)
    heed(total, total)
    task.save(model, tokenizer)


def tune(
    anatomy: Anatomy,
    layer: int,
    safe: Tokens,
    kept: Sequence[Tokens],
    settings: Settings,
    told: Callable[[int], None],
) -> None:
    """Tune one layer's projection: c NLL(safe) + keep KL(before || after) on what stays (DINM, L_total).

    Args:
        anatomy: Of the model.
        layer: Whose MLP output projection is tuned.
        safe: The answer to give.
        kept: What is to be told as it was before this instance.
        settings: How to tune.
        told: Called before each step with its number.
    """
    made = examples_of(anatomy, [safe, *kept], layer, lambda done, of: told(0))
    with torch.no_grad():
        before, _ = answer_logits(anatomy, made[1:], layer)

    def loss_at(step: int) -> Tensor:
        told(step)
        after, _ = answer_logits(anatomy, made[1:], layer)
        return settings.safe * token_loss(anatomy, made[:1], layer) + settings.keep * divergence(before, after)

    descend([anatomy.projections[layer].module.weight], settings.steps, settings.lr, loss_at)
