"""Patch: one neuron for each fact, beside the weights (Huang et al., 2023, "Transformer-Patcher", section 3).

The paper puts a neuron into the last feed-forward layer for each mistake and trains its key, its value and a bias to
fire there and nowhere else. Here the key is not trained but read, where ROME looks a subject up (Meng et al., 2022,
section 3.1, step 1): what goes into the MLP output projection of an early layer at the subject's last token. Instead of
the paper's memories of other inputs, decoys stand for others who are named alike. The value is ROME's target (eq. 4),
as the methods that write into the weights search it; it is added as it is found, where they must spread it over weights
that all facts share.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from amends import BadInput, Records, Task
from amends.serving.attaching import earlier
from amends_editing import attached
from amends_editing.applying import DEFAULT_LAYERS
from amends_editing.desk import CONTEXTS
from amends_editing.erasing import STRANGERS
from amends_editing.facts import Fact, row_of, rows_of
from amends_editing.patches import KIND, Patches, matched, read
from amends_editing.structure import Anatomy, ending_with, inspect_model, reading
from amends_editing.tails import Row
from amends_editing.targets import Progress, Solved, Solver, Wish, silent, solve

MENTIONS = (
    "They spoke of {}",
    "It was said by {}",
    "The story of {}",
    "A friend of mine knows {}",
    "This is about {}",
    "In {}",
)
"""Texts that mention a subject; it is to be known in other texts than the edit's own."""


@dataclass(frozen=True)
class Settings:
    """How facts are learnt.

    Args:
        layers: The block whose keys are read and the one that values are added to, as "4,8"; empty for what suits the
            depth.
        near: The least cosine at which a token is taken for an edit's subject.
        batch: Facts that are searched at once; each is on its own all the same.
        solver: How values are searched.
    """

    layers: str = ""
    near: float = 0.8
    batch: int = 50
    solver: Solver = field(default_factory=lambda: Solver(overshoot=1.0))


def write(task: Task, edits: Records, settings: Settings) -> None:
    """Write the version that knows the edits beside those that its source knows.

    Raises:
        BadInput: A setting or an edit cannot be used.
        AmendsError: A value became NaN or infinite.
    """
    if not 0 < settings.near <= 1:
        raise BadInput(f"editing.patch: near must be above 0 and at most 1, not {settings.near:g}")
    if settings.batch < 1:
        raise BadInput(f"editing.patch: batch must be 1 or more, not {settings.batch}")
    facts = attached.read_facts(edits, "editing.patch")
    model, tokenizer = task.load()
    anatomy = inspect_model(model)
    patches = _begin(task, anatomy, settings)
    done = 0
    for batch in batches(facts, settings.batch):
        learn(anatomy, tokenizer, patches, batch, settings.solver, _onward(task, done, len(facts)))
        done += len(batch)
    task.progress(len(facts), len(facts), "edited")
    tensors = {"keys": torch.stack(patches.keys), "values": torch.stack(patches.values)}
    tensors |= {"decoys": torch.stack(patches.decoys)} if patches.decoys else {}
    about = {"reads": patches.reads, "writes": patches.writes, "near": patches.near}
    attached.finish(task, KIND, about | {"subjects": patches.subjects, "owners": patches.owners}, tensors)


def _onward(task: Task, done: int, total: int) -> Progress:
    return lambda some, _, message: task.progress(done + some, total, message)


def _begin(task: Task, anatomy: Anatomy, settings: Settings) -> Patches:
    """Return the source's patches, to go on from, or none."""
    old = earlier(task, KIND)
    if old is None:
        return empty(anatomy, settings)
    patches = read(old)
    if settings.layers and _layers(anatomy, settings.layers) != (patches.reads, patches.writes):
        raise BadInput(f"the source's patches are at {patches.reads},{patches.writes}; leave layers out, or give those")
    patches.near = settings.near
    return patches


def empty(anatomy: Anatomy, settings: Settings) -> Patches:
    """Return a model's patches before the first fact.

    Raises:
        BadInput: The model lacks a layer.
    """
    return Patches(*_layers(anatomy, settings.layers), settings.near)


def _layers(anatomy: Anatomy, layers: str) -> tuple[int, int]:
    """Return the block that is read and the one that is added to.

    Raises:
        BadInput: They are not one or two layers that the model has.
    """
    if layers:
        try:
            chosen = anatomy.check_layers([int(part) for part in layers.split(",")])
        except ValueError:
            raise BadInput(f"layers must be numbers with commas between, such as 4,8, not {layers!r}") from None
        return chosen[0], chosen[-1]
    first, last = (min(round(share * len(anatomy.blocks)), len(anatomy.blocks) - 2) for share in DEFAULT_LAYERS)
    return first, last


def batches(facts: Sequence[Fact], size: int) -> Iterator[list[Fact]]:
    """Yield facts in order, some at a time; no two in a batch are about one subject, as the later builds on the first.

    Args:
        facts: All of them.
        size: Most facts in a batch.
    """
    batch: list[Fact] = []
    for fact in facts:
        if len(batch) == size or any(other.subject == fact.subject for other in batch):
            yield batch
            batch = []
        batch.append(fact)
    if batch:
        yield batch


def learn(
    anatomy: Anatomy, tokenizer: Any, patches: Patches, facts: Sequence[Fact], solver: Solver,
    progress: Progress = silent, contexts: Sequence[str] = CONTEXTS,
) -> Solved:  # fmt: skip
    """Learn facts about different subjects: solve their values, read their keys, and add both to the patches.

    A subject that is known already is searched with its patch in place, so that the new value comes on top.
    """
    wishes = [Wish(fact) for fact in facts]
    with patches.about([fact.subject for fact in facts]).armed(anatomy):
        solved = solve(anatomy, tokenizer, wishes, patches.writes, solver, contexts, progress=progress)
    for fact, value in zip(facts, solved.residuals, strict=True):
        keys, decoys = keys_of(anatomy, tokenizer, fact, contexts, patches)
        patches.learn(fact.subject, value, keys, decoys)
    return solved


def keys_of(
    anatomy: Anatomy, tokenizer: Any, fact: Fact, contexts: Sequence[str], patches: Patches
) -> tuple[list[Tensor], list[Tensor]]:
    """Return the keys that stand for a fact's subject, and the one that stands for others of the same last word.

    They are those of the bare prompt, of the mean of the other contexts, of the mean of mentions elsewhere, and of each
    text by which the subject would not be known otherwise; all of length one.

    An early layer knows a token more than the name that it ends: without that one, "Hal Stephens" is taken for
    "Ann Stephens".
    """
    told = rows_of(tokenizer, fact, "", contexts)
    mentions = [row_of(tokenizer, text.format(fact.subject), fact.subject) for text in MENTIONS]
    others = [row_of(tokenizer, text.format(name), name) for text, name in alike(fact.subject)]
    found = F.normalize(entering(anatomy, [*told, *mentions, *others], patches.reads), dim=-1)
    sizes = [1, len(told) - 1, len(mentions), len(others)]
    bare, after, mentioned, strange = torch.split(found, sizes)
    chosen = torch.cat([bare, *(_mean(some) for some in (after, mentioned) if len(some))])
    decoys = _mean(strange) if len(strange) else strange
    mine = torch.cat([after, mentioned])
    nearest = matched(mine, torch.cat([chosen, decoys]), patches.near)
    missed = (nearest < 0) | (nearest >= len(chosen))
    return list(torch.cat([chosen, mine[missed]]).unbind()), list(decoys.unbind())


def _mean(keys: Tensor) -> Tensor:
    """Return the mean direction, shape (1, inner)."""
    return F.normalize(keys.mean(0, keepdim=True), dim=-1)


def alike(subject: str) -> list[tuple[str, str]]:
    """Return texts, each with a name of somebody else that ends as the subject does; none for a subject of one word."""
    first, _, last = subject.rpartition(" ")
    names = [f"{stranger.split()[0]} {last}" for stranger in STRANGERS]
    return [(text, name) for text, name in zip(MENTIONS, names, strict=False) if first and name != subject]


@torch.no_grad()
def entering(anatomy: Anatomy, rows: Sequence[Row], layer: int) -> Tensor:
    """Return what goes into a layer's projection at each row's subject, in float32 on the CPU, shape (rows, inner).

    Rows end at their subjects, so that what fills up the shorter ones comes after all that is looked at.
    """
    tokens = torch.zeros(len(rows), max(row.subject for row in rows) + 1, dtype=torch.long)
    for number, row in enumerate(rows):
        tokens[number, : row.subject + 1] = torch.tensor(row.tokens[: row.subject + 1])
    projection, seen = anatomy.projections[layer].module, list[Tensor]()
    with reading(projection, seen), ending_with(projection):
        anatomy.model(input_ids=tokens.to(anatomy.device), use_cache=False)
    places = torch.tensor([row.subject for row in rows])
    return seen[0].reshape(*tokens.shape, -1).float().cpu()[torch.arange(len(rows)), places]
