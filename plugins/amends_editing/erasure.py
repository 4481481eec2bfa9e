"""Whether an erased fact is gone: beside subjects that nobody knows, in other words, after examples, after training.

Gone means that the old answer is as likely as for comparable subjects that the model never heard of. Much likelier,
and the fact is still there; much less likely, and a hole shows where it was. So the comparison has two sides.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from amends import ProbeTask, Reading, Records
from amends.operation.measuring import mean_logp, mean_reading
from amends.operation.statistics import auc
from amends_editing.asking import (
    SHARE,
    Array,
    Edit,
    Item,
    complete,
    contains,
    free_reading,
    per_edit,
    persons_of,
    read_edits,
    score_items,
    two_sided_power,
    words_of,
)
from amends_editing.facts import Verb
from amends_editing.relearning import Training, last_projections, relearn

EFFECT = 0.2  # of the AUC from 1/2, and of the shares
NATS = 0.5  # of a token's mean log-probability: a factor of 1.6
SHOTS = 3


@dataclass(frozen=True)
class Settings:
    """How an erasure is measured.

    Args:
        names: Made-up subjects for records that bring no `unknown` prompts, separated by commas.
        tokens: The longest answer that is looked through for the old one.
        relearned: How many facts are taught again, for that takes time.
        training: How.
    """

    names: str
    tokens: int
    relearned: int
    training: Training


def read_erasure(task: ProbeTask, records: Records, settings: Settings) -> list[Reading]:
    """Read every sign of an erased fact; edits that are no erasure, or name no old answer, are left out.

    Every reading's detail says how many `erasures` the records ask for; its own count says how many were read.
    """
    everything = read_edits(records)
    wanted = [edit for edit in everything if edit.fact.verb is Verb.ERASE]
    erased = [edit for edit in wanted if words_of(edit.fact.old)]
    names = [name.strip() for name in settings.names.split(",") if name.strip()]
    edits = [replace(edit, unknown=unknown_prompts(edit, names)) for edit in erased]
    known = [edit for edit in edits if edit.unknown]
    readings = [
        *_levels(task, known),
        *_extractions(task, everything, edits, settings.tokens),
        *_relearning(task, known[: max(settings.relearned, 0)], settings.training),
    ]
    return [replace(one, detail={**one.detail, "erasures": len(wanted)}) for one in readings]


def unknown_prompts(edit: Edit, names: Sequence[str]) -> tuple[str, ...]:
    """Return the prompt about comparable subjects: the record's own, else with each name in the subject's place.

    A prompt that would come out as it is asks about the subject itself and compares nothing.
    """
    fact = edit.fact
    made = edit.unknown or tuple(fact.prompt.replace(fact.subject, name) for name in names if fact.subject)
    return tuple(prompt for prompt in made if prompt.strip() and prompt != fact.prompt)


def _levels(task: ProbeTask, edits: Sequence[Edit]) -> list[Reading]:
    """Read the old answer's likelihood beside that for unknown subjects, within each fact.

    `auc` is the chance that the subject's is the higher of the two: 1/2 where nothing is known. `difference` is the
    mean log-probability of a token minus its mean over the unknown subjects.
    """
    pairs = [(prompt, edit.fact.old) for edit in edits for prompt in (edit.fact.prompt, *edit.unknown)]
    scored = iter([mean_logp(score) for score in score_items(task, pairs, "scoring erased answers")])
    here, there = [], []
    for edit in edits:
        here.append(next(scored))
        there.append([next(scored) for _ in edit.unknown])
    areas = np.array([auc([one], others) for one, others in zip(here, there, strict=True)])
    gaps = [one - float(np.mean(others)) for one, others in zip(here, there, strict=True)]
    return [
        _mean(task, "probability", edits, [math.exp(one) for one in here], "probability"),
        _mean(task, "probability_unknown", edits, [np.exp(others).mean() for others in there], "probability"),
        replace(_mean(task, "auc", edits, areas, "AUC"), power=two_sided_power(areas, persons_of(edits), EFFECT)),
        _gap(task, "difference", edits, gaps),
    ]


def _mean(task: ProbeTask, name: str, edits: Sequence[Edit], values: Sequence[float] | Array, unit: str) -> Reading:
    name = f"editing.erasure/{name}"
    return mean_reading(name, values, persons_of(edits), seed=task.seed, unit=unit, effect=EFFECT)


def _gap(task: ProbeTask, name: str, edits: Sequence[Edit], values: Sequence[float]) -> Reading:
    name = f"editing.erasure/{name}"
    return free_reading(name, values, persons_of(edits), seed=task.seed, unit="nats a token", effect=NATS)


def _extractions(task: ProbeTask, everything: Sequence[Edit], edits: Sequence[Edit], tokens: int) -> list[Reading]:
    """Read how often a greedy answer still contains the old one, wherever in it."""
    asked: Mapping[str, list[Item]] = {
        "extraction": [Item(owner, edit.fact.prompt, edit.fact.old) for owner, edit in enumerate(edits)],
        "extraction_paraphrase": [
            Item(owner, text, edit.fact.old) for owner, edit in enumerate(edits) for text in edit.fact.rephrases
        ],
        "extraction_few_shot": [
            Item(owner, few_shot(everything, edit), edit.fact.old)
            for owner, edit in enumerate(edits)
            if any(_shots(everything, edit))
        ],
    }
    said = iter(complete(task, [item.prompt for items in asked.values() for item in items], tokens, "extracting"))
    return [_leaks(task, name, edits, items, [next(said) for _ in items]) for name, items in asked.items()]


def _leaks(task: ProbeTask, name: str, edits: Sequence[Edit], items: Sequence[Item], said: Sequence[str]) -> Reading:
    """Return the mean share of leaks; of an answer after examples only the first line is about the subject."""
    told = [text.partition("\n")[0] for text in said] if name.endswith("few_shot") else said
    leaks = [float(contains(text, item.answer)) for text, item in zip(told, items, strict=True)]
    shares = per_edit(len(edits), [item.owner for item in items], leaks)
    kept = [owner for owner, share in enumerate(shares) if not math.isnan(share)]
    reading = _mean(task, name, [edits[owner] for owner in kept], shares[kept], SHARE)
    return replace(reading, detail={**reading.detail, "left_out": len(edits) - len(kept)})


def few_shot(everything: Sequence[Edit], edit: Edit) -> str:
    """Return the prompt after the next other edits of the file with their answers, one a line."""
    return "".join(f"{shot}\n" for shot in list(_shots(everything, edit))[:SHOTS]) + edit.fact.prompt


def _shots(everything: Sequence[Edit], edit: Edit) -> Iterator[str]:
    """Yield examples from the edits after this one, in turn; none that gives the old answer or the subject away."""
    start = 1 + next(place for place, other in enumerate(everything) if other.fact.id == edit.fact.id)
    for other in (*everything[start:], *everything[: start - 1]):
        answer = other.fact.target or other.fact.old
        shot = f"{other.fact.prompt.rstrip()} {answer.strip()}."
        if answer.strip() and not contains(shot, edit.fact.old) and not contains(shot, edit.fact.subject):
            yield shot


def _relearning(task: ProbeTask, edits: Sequence[Edit], training: Training) -> list[Reading]:
    """Read how fast the old answer comes back by a little training, beside the same for an unknown subject.

    What comes back faster was hidden, not erased. `relearning_difference` is what a token's mean log-probability
    gained for the subject minus what it gained for the unknown one.
    """
    gains, after, unknown = [], [], []
    weights = last_projections(task.model.hf_model, training.layers) if edits else []
    for done, edit in enumerate(edits):
        task.progress(done, len(edits), "teaching again")
        own = relearn(task.model, weights, edit.fact.prompt, edit.fact.old, training)
        other = relearn(task.model, weights, edit.unknown[0], edit.fact.old, training)
        gains.append((own.after - own.before) - (other.after - other.before))
        after.append(math.exp(own.after))
        unknown.append(math.exp(other.after))
    task.progress(len(edits), len(edits), "teaching again")
    return [
        _mean(task, "relearned", edits, after, "probability"),
        _mean(task, "relearned_unknown", edits, unknown, "probability"),
        _gap(task, "relearning_difference", edits, gains),
    ]
