"""Patch: one neuron for each fact, beside the weights (Huang et al., 2023, "Transformer-Patcher", section 3).

The paper puts a neuron into the last feed-forward layer for each mistake and trains its key, its value and a bias to
fire there and nowhere else. Here the key is not trained but read, where ROME looks a subject up (Meng et al., 2022,
section 3.1, step 1): what goes into the MLP output projection of an early layer at the subject's last token. Instead of
the paper's memories of other inputs, decoys stand for others who are named alike. The value is ROME's target (eq. 4),
as the methods that write into the weights search it; it is added as it is found, where they must spread it over weights
that all facts share.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from amends import BadInput, Records, Task
from amends.serving.attaching import earlier
from amends_editing import attached
from amends_editing.applying import Plan, choose_layers
from amends_editing.desk import CONTEXTS
from amends_editing.erasing import STRANGERS
from amends_editing.facts import Fact, row_of, rows_of
from amends_editing.patches import KIND, Keys, Patch, Patches, read, written
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

FIRST_TOKENS = 64  # from all over the vocabulary, whose mean stands for the first token of any text
EQUAL = 0.999  # the cosine of a key with itself, as far as sums in another order let it be


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
    for start in range(0, len(facts), settings.batch):
        batch = facts[start : start + settings.batch]
        learn(anatomy, tokenizer, patches, batch, settings.solver, _onward(task, start, len(facts)))
    task.progress(len(facts), len(facts), "edited")
    attached.finish(task, KIND, *written(patches))


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
    reads, writes = _layers(anatomy, settings.layers)
    size = anatomy.model.get_input_embeddings().weight.shape[0]
    words = range(0, size, max(size // FIRST_TOKENS, 1))
    first = F.normalize(entering(anatomy, [Row((word,), 0) for word in words], reads), dim=-1)
    return Patches(reads, writes, settings.near, F.normalize(first.mean(0, keepdim=True), dim=-1))


def _layers(anatomy: Anatomy, layers: str) -> tuple[int, int]:
    """Return the block that is read and the one that is added to: the first and last that would be edited.

    Raises:
        BadInput: They are not numbers, or the model lacks them.
    """
    chosen = choose_layers(anatomy, Plan(layers=layers))
    return chosen[0], chosen[-1]


def learn(
    anatomy: Anatomy, tokenizer: Any, patches: Patches, facts: Sequence[Fact], solver: Solver,
    progress: Progress = silent, contexts: Sequence[str] = CONTEXTS,
) -> Solved:  # fmt: skip
    """Learn facts: solve a value for each subject that answers all that is known of it, and read its keys.

    Args:
        anatomy: The model's parts.
        tokenizer: Its tokenizer.
        patches: What is known already; the facts are added. The same prompt told again has its last answer.
        facts: What is to be known.
        solver: How to search.
        progress: Told before each group of subjects.
        contexts: What may stand before a prompt; the first is empty.

    Returns:
        What was found for each subject, in the order in which the facts name them first.
    """
    told: dict[str, dict[str, Fact]] = {}
    for fact in facts:
        old = patches.by_subject.get(fact.subject)
        known = told.setdefault(fact.subject, {one.prompt: one for one in (old.facts if old else ())})
        known.pop(fact.prompt, None)
        known[fact.prompt] = fact
    wishes = [Wish(last, beside=tuple(others)) for *others, last in (known.values() for known in told.values())]
    solved = solve(anatomy, tokenizer, wishes, patches.writes, solver, contexts, progress=progress)
    for wish, value in zip(wishes, solved.residuals, strict=True):
        keys, decoys = keys_of(anatomy, tokenizer, [wish.fact, *wish.beside], contexts, patches)
        patches.learn(Patch((*wish.beside, wish.fact), value, keys, decoys))
    return solved


def keys_of(
    anatomy: Anatomy, tokenizer: Any, facts: Sequence[Fact], contexts: Sequence[str], patches: Patches
) -> tuple[Keys, Keys]:
    """Return the keys that stand for a subject, and the one that stands for others of the same last word.

    They are those of the first fact's bare prompt, of the mean of its contexts, of the mean of mentions elsewhere, and
    of each text by which the subject would not be known otherwise. An early layer knows of a token little more than the
    name that it ends: without the decoy, "Hal Stephens" is taken for "Ann Stephens".

    Args:
        anatomy: The model's parts.
        tokenizer: Its tokenizer.
        facts: All that is known of one subject.
        contexts: What may stand before a prompt; the first is empty.
        patches: Where and how near.
    """
    subject = facts[0].subject
    told = [*rows_of(tokenizer, facts[0], "", contexts), *(row_of(tokenizer, f.prompt, subject) for f in facts[1:])]
    mentions = [row_of(tokenizer, text.format(subject), subject) for text in MENTIONS]
    others = [row_of(tokenizer, text.format(name), name) for text, name in alike(subject)]
    sizes = [1, len(contexts) - 1, len(facts) - 1, len(mentions), len(others)]
    bare, after, more, mentioned, strange = _keys([*told, *mentions, *others], anatomy, patches).split(sizes)
    decoys = _mean(strange, patches.near)
    chosen = bare + _mean(after, patches.near) + _mean(mentioned, patches.near)
    rest = after + more + mentioned
    nearest = (chosen + decoys).matched(rest.keys)
    missed = (nearest < 0) | (nearest >= len(chosen))
    return chosen + Keys(rest.keys[missed], rest.near[missed]), decoys


def _keys(rows: Sequence[Row], anatomy: Anatomy, patches: Patches) -> Keys:
    """Return the key of each row; what is a text's first token must come all but exactly as near.

    The first token of any text has nearly the same key, whatever it is, but it has seen no other: the same token's is
    equal.
    """
    near = torch.tensor([patches.near if row.subject else EQUAL for row in rows])
    return Keys(F.normalize(entering(anatomy, rows, patches.reads), dim=-1), near)


def _mean(some: Keys, near: float) -> Keys:
    """Return the mean direction of some keys, or none of none."""
    if not len(some):
        return some
    return Keys(F.normalize(some.keys.mean(0, keepdim=True), dim=-1), torch.tensor([near]))


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
