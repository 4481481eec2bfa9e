"""Erase facts that the model knows, and look whether they are gone as if they had never been there."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

from editing_records import Subject, ask
from editing_runs import Setting, Write, erasures
from figures import Reading, mean, read

from amends.operation.statistics import auc
from amends_editing.asking import Edit
from amends_editing.erasure import few_shot
from amends_editing.facts import Fact
from amends_editing.guarding import put_back

NOBODY = ("Oswin Tarrel", "Merete Vangsnes", "Ilario Sondrini", "Pavla Hrubesova", "Chidera Obanye")
"""Subjects that no model knows, and others than those that the erasure itself looks at."""


def measure(setting: Setting, facts: Sequence[Fact], write: Write) -> Iterator[Reading]:
    """Erase all facts in one update; the weights go back at the end."""
    subject, weights = setting.subject, setting.weights()
    near = mean(ask(subject, facts).neighbourhood)[0]
    knew, likely_before = _extracted(subject, facts), _likely(subject, facts)
    began = time.process_time()
    write(setting.desk(len(facts)), erasures(setting, facts))
    seconds = time.process_time() - began
    likely, unknown = _likely(subject, facts), _unknown(subject, facts)
    gone, tally = _extracted(subject, facts), ask(subject, facts)
    put_back(subject.anatomy, weights)
    count = len(facts)
    gaps = [one - sum(others) / len(others) for one, others in zip(likely, unknown, strict=True)]
    gap, interval = mean(gaps)
    gap_before = mean([one - sum(u) / len(u) for one, u in zip(likely_before, unknown, strict=True)])[0]
    yield read("erased: log P(true) minus that of unknown subjects, before", gap_before, "nats", count)
    yield read("erased: log P(true) minus that of unknown subjects", gap, "nats", count, interval)
    inside = float(interval is not None and interval[0] <= 0 <= interval[1])
    yield read("erased: 0 lies within that interval (two-sided, 95 %)", inside, "yes", count, at_least=1.0)
    flat = [value for others in unknown for value in others]
    yield read("erased: AUC against unknown subjects", auc(likely, flat), "share", count)
    for name, before, after in zip(("prompt", "paraphrase", "few-shot"), knew, gone, strict=True):
        yield read(f"erased: extraction by {name}, before", mean(before)[0], "share", len(before))
        goal = 0.05 if name != "prompt" else None
        yield read(f"erased: extraction by {name}", mean(after)[0], "share", len(after), mean(after)[1], at_most=goal)
    now = mean(tally.neighbourhood)
    yield read("erased: neighbourhood", now[0], "share", len(tally.neighbourhood), now[1], at_least=near - 0.05)
    yield read("erased: an erasure", seconds / count, "CPU-s", count)


def _likely(subject: Subject, facts: Sequence[Fact]) -> list[float]:
    return [logp for logp, _ in subject.score([(fact.prompt, fact.old) for fact in facts])]


def _unknown(subject: Subject, facts: Sequence[Fact]) -> list[list[float]]:
    """Return log P(true) when the prompt is about each of some people who do not exist."""
    pairs = [(fact.prompt.replace(fact.subject, name), fact.old) for fact in facts for name in NOBODY]
    found = [logp for logp, _ in subject.score(pairs)]
    return [found[i : i + len(NOBODY)] for i in range(0, len(found), len(NOBODY))]


def _extracted(subject: Subject, facts: Sequence[Fact]) -> tuple[list[float], list[float], list[float]]:
    """Return whether the old answer is the first choice at every token: as asked, rephrased, and after examples.

    The examples are other edits, none of which gives the answer away.
    """
    plain = [(fact.prompt, fact.old) for fact in facts]
    other = [(text, fact.old) for fact in facts for text in fact.rephrases]
    edits = [Edit(fact, fact.id) for fact in facts]
    shots = [(few_shot(edits, edit), edit.fact.old) for edit in edits]
    found = [[float(first) for _, first in subject.score(some)] for some in (plain, other, shots)]
    return found[0], found[1], found[2]
