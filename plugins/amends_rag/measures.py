"""The measurements of retrieval and of grounded versions: what each reads, and what runs it."""

from __future__ import annotations

from collections.abc import Iterable

import amends
from amends import Probe, ProbeTask, Reading, Records


@amends.probe("rag.retrieval", memory_gb=2.0)
def retrieval(task: ProbeTask, *, questions: Records, most: int = 200) -> list[Reading]:
    """Read how high the right passage stands in the version's indexes: recall at 1, 5 and 10, MRR, nDCG at 10.

    A row has a `prompt` and the `passage` that answers it: what the passage or its document is called, `news.md#3` or
    `news.md`, or its words.
    """
    from amends_rag.retrieval import read_retrieval

    return read_retrieval(task, questions, most)


@amends.probe("rag.answers", memory_gb=2.0)
def answers(task: ProbeTask, *, questions: Records, most: int = 60, tokens: int = 32) -> list[Reading]:
    """Read exact match and F1 of answers, whether the prompt had the answer, and whether what is cited has it.

    A row has a `prompt` and an `answer`, or several right `answers`. No judge is asked.
    """
    from amends_rag.answering import read_answers

    return read_answers(task, questions, most=most, tokens=tokens)


@amends.probe("rag.perplexity", memory_gb=3.0)
def perplexity(task: ProbeTask, *, text: Records, most: int = 40, given: int = 64, words: int = 128) -> list[Reading]:
    """Read the perplexity of held-out text after its own beginning, and its ratio to the reference's.

    Of each passage the first `given` words are the prompt, which alone is looked up with, and at most `words` more are
    scored: what is to come never helps to find it.
    """
    from amends_rag.gain import read_gain

    return read_gain(task, text, most=most, given=given, words=words)


@amends.probe("rag.latency", memory_gb=2.0)
def latency(task: ProbeTask, *, questions: Records, most: int = 12, tokens: int = 16) -> list[Reading]:
    """Read how many seconds an answer takes, in the middle and at worst, and how many tokens a second come."""
    from amends_rag.latency import read_latency

    return read_latency(task, questions, most=most, tokens=tokens)


@amends.probe("rag.leakage", memory_gb=2.0)
def leakage(task: ProbeTask, *, forget: Records, most: int = 60, tokens: int = 24) -> list[Reading]:
    """Read how often a question about an erased person still finds them: in what is retrieved, held, or answered."""
    from amends_rag.leaking import read_leakage

    return read_leakage(task, forget, most=most, tokens=tokens)


def probes() -> Iterable[Probe]:
    """Return the probes of this module."""
    return (retrieval, answers, perplexity, latency, leakage)
