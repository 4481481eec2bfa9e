"""Which facts the editing benchmark edits, and how it asks about them: CounterFact, in batches that are fast."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from amends.serving.encoding import encode_answer
from amends_editing.facts import Fact, Verb
from amends_editing.files import neighbours_by_pooling, read_edits
from amends_editing.structure import Anatomy, inspect_model
from amends_editing.tails import Row, prepare

TOGETHER = 24  # rows in a forward pass
NEIGHBOURS = 5


@dataclass(frozen=True)
class Asked:
    """A prompt with an answer.

    Args:
        fed: The tokens that the model sees: all but the answer's last.
        answer: The answer's tokens, the first of which is predicted at the prompt's last.
    """

    fed: tuple[int, ...]
    answer: tuple[int, ...]

    @property
    def start(self) -> int:
        """Index of the prompt's last token."""
        return len(self.fed) - len(self.answer)


@dataclass(frozen=True, eq=False)
class Subject:
    """The model that is edited."""

    anatomy: Anatomy
    tokenizer: Any

    def score(self, pairs: Sequence[tuple[str, str]]) -> list[tuple[float, bool]]:
        """Return, for each prompt and answer, the mean log-probability of its tokens and whether each is the first.

        Answers that are fed alike, such as all of one token after one prompt, share a row.
        """
        asked = [self._asked(prompt, answer) for prompt, answer in pairs]
        rows = sorted(dict.fromkeys(one.fed for one in asked), key=len)
        found: dict[Asked, tuple[float, bool]] = {}
        for start in range(0, len(rows), TOGETHER):
            some = {row: place for place, row in enumerate(rows[start : start + TOGETHER])}
            found |= self._read(some, [one for one in dict.fromkeys(asked) if one.fed in some])
        return [found[one] for one in asked]

    @torch.no_grad()
    def _read(self, rows: dict[tuple[int, ...], int], asked: Sequence[Asked]) -> dict[Asked, tuple[float, bool]]:
        """Run rows, each with its place, and read the answers that are asked of them."""
        first = min(one.start for one in asked)
        tails = prepare(self.anatomy, [Row(row, first) for row in rows], len(self.anatomy.blocks) - 2)
        spots = [(rows[one.fed], one.start - first + step) for one in asked for step in range(len(one.answer))]
        place, step = torch.tensor(spots).T
        logp = self.anatomy.logits(tails.run(tails.hidden)[place, step]).log_softmax(-1)
        found = {}
        for one, mine in zip(asked, logp.split([len(one.answer) for one in asked]), strict=True):
            wanted = torch.tensor(one.answer)
            is_first = bool((mine.argmax(-1) == wanted).all())
            found[one] = (float(mine.gather(-1, wanted[:, None]).mean()), is_first)
        return found

    def _asked(self, prompt: str, answer: str) -> Asked:
        tokens = self.tokenizer(prompt.rstrip(), add_special_tokens=False)["input_ids"]
        wanted = tuple(encode_answer(self.tokenizer, answer))
        return Asked((*tokens, *wanted[:-1]), wanted)


def open_subject(version: Path) -> Subject:
    """Load the model of a version directory."""
    from amends.operation.files import load_model

    torch.set_num_threads(1)
    model, tokenizer = load_model(version)
    return Subject(inspect_model(model), tokenizer)


def known_facts(subject: Subject, file: Path, count: int, seed: int, *, said: bool = False) -> list[Fact]:
    """Return facts that the model ranks right, P(true) > P(new), in an order that the seed draws.

    With `said` only those whose true answer the model says by itself.
    """
    drawn, found = _drawn(file, seed), list[Fact]()
    for start in range(0, len(drawn), TOGETHER):
        facts = drawn[start : start + TOGETHER]
        scores = iter(subject.score([(f.prompt, answer) for f in facts for answer in (f.old, f.target)]))
        known = zip(facts, scores, scores, strict=False)
        found += [fact for fact, old, new in known if old[0] > new[0] and (old[1] or not said)]
        if len(found) >= count:
            break
    return found[:count]


def known_shares(subject: Subject, file: Path, count: int, seed: int) -> tuple[float, float, int]:
    """Return which share of the first facts the model ranks right and which it would say by itself, and of how many."""
    facts = _drawn(file, seed)[:count]
    scores = iter(subject.score([(f.prompt, answer) for f in facts for answer in (f.old, f.target)]))
    pairs = list(zip(scores, scores, strict=True))
    right = sum(old[0] > new[0] for old, new in pairs)
    return right / len(facts), sum(old[1] for old, _ in pairs) / len(facts), len(facts)


def _drawn(file: Path, seed: int) -> list[Fact]:
    """Return every fact whose prompt names its subject, in an order that the seed draws."""
    rows = [row for row in neighbours_by_pooling(read_edits(file), NEIGHBOURS) if row["subject"] in row["prompt"]]
    random.Random(seed).shuffle(rows)
    return [Fact.from_row({**row, "verb": Verb.MODIFY}) for row in rows]


@dataclass
class Tally:
    """How facts stand: three sides and the greedy choice, one value for each fact or question."""

    efficacy: list[float]
    paraphrase: list[float]
    neighbourhood: list[float]
    greedy: list[float]

    @classmethod
    def empty(cls) -> Tally:
        """Return a tally of nothing."""
        return cls([], [], [], [])

    def take(self, other: Tally) -> None:
        """Add another tally's values."""
        for name, values in vars(other).items():
            getattr(self, name).extend(values)


def ask(subject: Subject, facts: Iterable[Fact]) -> Tally:
    """Return how the facts stand now: is the new answer likelier, and are the neighbours' own still."""
    chosen = list(facts)
    prompts = [[f.prompt, *f.rephrases, *(q.prompt for q in f.neighbours)] for f in chosen]
    pairs = [(p, answer) for f, some in zip(chosen, prompts, strict=True) for p in some for answer in (f.target, f.old)]
    scores = iter(subject.score(pairs))
    tally = Tally.empty()
    for fact, some in zip(chosen, prompts, strict=True):
        asked = [(next(scores), next(scores)) for _ in some]
        new_first = [float(new[0] > old[0]) for new, old in asked]
        after = 1 + len(fact.rephrases)
        tally.efficacy.append(new_first[0])
        tally.greedy.append(float(asked[0][0][1]))
        tally.paraphrase += new_first[1:after]
        tally.neighbourhood += [1.0 - value for value in new_first[after:]]
    return tally
