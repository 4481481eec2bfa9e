"""What an erasure wants: that the model answers as it does for comparable subjects that it does not know.

An empty answer, or a refusal, would be conspicuous: it says that there was something. And pushing the old answer's
probability to nothing leaves a hole where it was. So the wish is the mean distribution over made-up subjects put into
the same prompt: the old answer becomes as likely as it is for somebody who never existed, and so does every other.
The distribution hardly feels one answer among thousands, so the old answer's own level is asked for as well: each of
its tokens as likely, in the geometric mean, as it is for the strangers; neither more nor less.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from amends_editing.facts import Fact, row_of
from amends_editing.structure import Anatomy
from amends_editing.tails import prepare
from amends_editing.targets import Wish

STRANGERS = (
    "Torvald Quillane", "Mirabel Oxtoby", "Yannis Berrow", "Adaeze Lorimund", "Kesley Vantongeren", "Ruvim Astrakov",
    "Dalienne Prouse", "Hiroteru Wasaka",
)  # fmt: skip
"""Names of nobody; they stand for subjects that no model knows."""


BESIDE = 2  # strangers after each context; after the bare prompt, all of them


def wish_to_erase(anatomy: Anatomy, tokenizer: Any, fact: Fact, contexts: Sequence[str]) -> Wish:
    """Return a fact to erase with what it wants: the strangers' distribution, and their level of the old answer.

    Args:
        anatomy: The model's parts.
        tokenizer: Its tokenizer.
        fact: With its old answer, where somebody knows it; without, the distribution alone is wanted.
        contexts: What may stand before the prompt; the first is empty.
    """
    wanted, levels = _read_strangers(anatomy, tokenizer, fact, contexts)
    return Wish(fact, wanted, levels if fact.old else None)


def wanted_distribution(anatomy: Anatomy, tokenizer: Any, fact: Fact, contexts: Sequence[str]) -> Tensor:
    """Return the mean next-token distribution over strangers in the fact's prompt, shape (contexts, vocabulary)."""
    return _read_strangers(anatomy, tokenizer, fact, contexts)[0]


@torch.no_grad()
def _read_strangers(anatomy: Anatomy, tokenizer: Any, fact: Fact, contexts: Sequence[str]) -> tuple[Tensor, Tensor]:
    """Return the mean distribution at the prompt's end, and the mean log-probability of each token of the old answer.

    After the bare prompt over all strangers; after the others one mean, over a few strangers after each of them.
    """
    strange = [replace(fact, subject=name, prompt=fact.prompt.replace(fact.subject, name)) for name in STRANGERS]
    others = [(strange[(turn * BESIDE + step) % len(strange)], context)
              for turn, context in enumerate(contexts[1:]) for step in range(BESIDE)]  # fmt: skip
    found = []
    for some in ([(one, contexts[0]) for one in strange], others):
        if some:
            found += [_mean(anatomy, tokenizer, some)]
    bare, rest = found[0], found[-1]
    chosen = [bare] + [rest] * (len(contexts) - 1)
    return torch.stack([likely for likely, _ in chosen]), torch.stack([levels for _, levels in chosen])


def _mean(anatomy: Anatomy, tokenizer: Any, some: Sequence[tuple[Fact, str]]) -> tuple[Tensor, Tensor]:
    rows = [row_of(tokenizer, one.prompt, one.subject, one.old, context) for one, context in some]
    tails = prepare(anatomy, rows, len(anatomy.blocks) - 2)
    out = tails.run(tails.hidden)
    everyone = torch.arange(len(rows))
    likely = anatomy.logits(out[everyone, tails.ends]).softmax(-1).mean(0)
    places = tails.targets >= 0
    logp = anatomy.logits(out[places]).log_softmax(-1)
    levels = logp.gather(-1, tails.targets[places][:, None]).view(len(rows), -1).mean(0)
    return likely, levels
