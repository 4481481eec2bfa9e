"""What an erasure wants: that the model answers as it does for comparable subjects that it does not know.

An empty answer, or a refusal, would be conspicuous: it says that there was something. And pushing the old answer's
probability to nothing leaves a hole where it was. So the wish is the mean distribution over made-up subjects put into
the same prompt: the old answer becomes as likely as it is for somebody who never existed, and so does every other.
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

STRANGERS = (
    "Torvald Quillane", "Mirabel Oxtoby", "Yannis Berrow", "Adaeze Lorimund", "Kesley Vantongeren", "Ruvim Astrakov",
    "Dalienne Prouse", "Hiroteru Wasaka",
)  # fmt: skip
"""Names of nobody; they stand for subjects that no model knows."""


@torch.no_grad()
def wanted_distribution(anatomy: Anatomy, tokenizer: Any, fact: Fact, contexts: Sequence[str]) -> Tensor:
    """Return the mean next-token distribution over strangers in the fact's prompt, shape (contexts, vocabulary)."""
    strange = [replace(fact, subject=name, prompt=fact.prompt.replace(fact.subject, name)) for name in STRANGERS]
    rows = [row_of(tokenizer, one.prompt, one.subject, before=context) for context in contexts for one in strange]
    tails = prepare(anatomy, rows, len(anatomy.blocks) - 2)
    out = tails.run(tails.hidden)
    likely = anatomy.logits(out[torch.arange(len(rows)), tails.last]).softmax(-1)
    return likely.view(len(contexts), len(strange), -1).mean(1)
