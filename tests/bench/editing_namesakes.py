"""Ask whom patches take for whom: a subject in other words, and others who are named alike."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from editing_records import Subject
from figures import Reading, mean, read
from torch import Tensor

from amends_editing.desk import CONTEXTS
from amends_editing.facts import Fact, row_of
from amends_editing.patches import matched
from amends_editing.patching import Settings, empty, entering, keys_of
from amends_editing.tails import Row

NAMESAKES = (
    ("Some say that {}", "George"),
    ("The work of {}", "Anna"),
    ("and then {}", "New"),
    ("Before {}", "Southern"),
)
"""Texts and beginnings of names, none of which decoys are made of."""


def measure(subject: Subject, facts: Sequence[Fact]) -> Iterator[Reading]:
    """Say at which share of rephrases a subject is known, and at which share of its namesakes it is taken for them."""
    anatomy, tokenizer, patches = subject.anatomy, subject.tokenizer, empty(subject.anatomy, Settings())
    for fact in facts:
        keys, decoys = keys_of(anatomy, tokenizer, fact, CONTEXTS, patches)
        patches.learn(fact.subject, torch.zeros(anatomy.width), keys, decoys)
    told = [(fact, text) for fact in facts for text in fact.rephrases if fact.subject in text]
    rephrased = [row_of(tokenizer, text, fact.subject) for fact, text in told]
    alike = [row for fact in facts for row in _namesakes(tokenizer, fact.subject)]
    for name, decoys in (("with decoys", patches.decoys), ("without", [])):
        owners = torch.tensor([*patches.owners, *[-1] * len(decoys)])
        known = torch.stack([*patches.keys, *decoys])

        def found(rows: Sequence[Row], owners: Tensor = owners, known: Tensor = known) -> list[int]:
            seen = torch.cat([entering(anatomy, [row], patches.reads) for row in rows])
            nearest = matched(seen, known, patches.near)
            return torch.where(nearest < 0, nearest, owners[nearest]).tolist()

        own = [patches.subjects.index(fact.subject) for fact, _ in told]
        right = [float(one == whose) for one, whose in zip(found(rephrased), own, strict=True)]
        taken = [float(one >= 0) for one in found(alike)]
        for what, values in (("known in other words", right), ("namesakes taken for a subject", taken)):
            share, interval = mean(values)
            yield read(f"patches, {name}: {what}", share, "share", len(values), interval)


def _namesakes(tokenizer: object, subject: str) -> Iterator[Row]:
    first, _, last = subject.rpartition(" ")
    for text, other in NAMESAKES if first else ():
        name = f"{other} {last}"
        if name != subject:
            yield row_of(tokenizer, text.format(name), name)
