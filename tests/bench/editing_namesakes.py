"""Ask whom patches take for whom: a subject in other words, and others who are named alike."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from editing_records import Subject
from figures import Reading, mean, read
from torch import Tensor

from amends_editing.desk import CONTEXTS
from amends_editing.facts import Fact, row_of
from amends_editing.patches import Keys, Patch, Patches
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
        keys, decoys = keys_of(anatomy, tokenizer, [fact], CONTEXTS, patches)
        patches.learn(Patch((fact,), torch.zeros(anatomy.width), keys, decoys))
    told = [(fact, text) for fact in facts for text in fact.rephrases if fact.subject in text]
    rephrased = _entering(subject, patches, [row_of(tokenizer, text, fact.subject) for fact, text in told])
    alike = _entering(subject, patches, [row for fact in facts for row in _namesakes(tokenizer, fact.subject)])
    places = {name: number for number, name in enumerate(patches.by_subject)}
    own = torch.tensor([places[fact.subject] for fact, _ in told])
    known, owners, _ = patches.known()
    mine = owners >= 0
    for name, keys, whose in (
        ("with decoys", known, owners),
        ("without", Keys(known.keys[mine], known.near[mine]), owners[mine]),
    ):
        right, taken = (_owners(keys, whose, states) for states in (rephrased, alike))
        yield _share(f"patches, {name}: known in other words", (right == own).tolist())
        yield _share(f"patches, {name}: namesakes taken for a subject", (taken >= 0).tolist())


def _entering(subject: Subject, patches: Patches, rows: Sequence[Row]) -> Tensor:
    return torch.cat([entering(subject.anatomy, [row], patches.reads) for row in rows])


def _owners(keys: Keys, owners: Tensor, states: Tensor) -> Tensor:
    nearest = keys.matched(states)
    return torch.where(nearest < 0, nearest, owners[nearest])


def _share(what: str, values: Sequence[bool]) -> Reading:
    share, interval = mean([float(value) for value in values])
    return read(what, share, "share", len(values), interval)


def _namesakes(tokenizer: object, subject: str) -> Iterator[Row]:
    first, _, last = subject.rpartition(" ")
    for text, other in NAMESAKES if first else ():
        name = f"{other} {last}"
        if name != subject:
            yield row_of(tokenizer, text.format(name), name)
