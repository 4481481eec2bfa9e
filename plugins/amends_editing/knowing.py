"""Which of some facts a model knows, by how likely it finds their answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from amends.serving.encoding import encode_answer
from amends_editing.facts import Fact, row_of
from amends_editing.structure import Anatomy
from amends_editing.tails import Row

AT_ONCE = 16  # texts in a forward pass


@dataclass(frozen=True)
class Known:
    """A fact that a model knows.

    Args:
        fact: It; `old` is what the model answers.
        row: Its prompt, without an answer.
        first: Index of the subject's first token; `row.subject` is that of its last.
        answer: The first token of the old answer.
    """

    fact: Fact = field(repr=False)
    row: Row = field(repr=False)
    first: int
    answer: int = field(repr=False)


def known_facts(anatomy: Anatomy, tokenizer: Any, facts: Sequence[Fact]) -> list[Known]:
    """Return the facts that a model knows: it finds the old answer likelier than the target.

    A fact without a target is known where the old answer's first token is the model's first choice. One without an
    old answer, or whose old answer begins as its target does, cannot be told and is left out.
    """
    found = [one for fact in facts if fact.old.strip() for one in (_seen(tokenizer, fact),) if _differs(tokenizer, one)]
    pairs = [(one.fact.prompt, answer) for one in found for answer in (one.fact.old, one.fact.target) if answer.strip()]
    logp = iter(mean_logps(anatomy, tokenizer, pairs))
    return [one for one in found if _is_known(anatomy, one, next(logp), logp)]


def _seen(tokenizer: Any, fact: Fact) -> Known:
    row = row_of(tokenizer, fact.prompt, fact.subject)
    text, at = fact.prompt.rstrip(), fact.prompt.rfind(fact.subject)
    offsets = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"]
    inside = sum(start < at + len(fact.subject) and stop > max(start, at) for start, stop in offsets)
    return Known(fact, row, row.subject + 1 - inside, encode_answer(tokenizer, fact.old)[0])


def _differs(tokenizer: Any, one: Known) -> bool:
    return not one.fact.target.strip() or encode_answer(tokenizer, one.fact.target)[0] != one.answer


def _is_known(anatomy: Anatomy, one: Known, old: float, logp: Any) -> bool:
    if one.fact.target.strip():
        return bool(old > next(logp))
    with torch.no_grad():
        logits = anatomy.model(input_ids=torch.tensor([one.row.tokens], device=anatomy.device), use_cache=False).logits
    return int(logits[0, -1].argmax()) == one.answer


def mean_logps(anatomy: Anatomy, tokenizer: Any, pairs: Sequence[tuple[str, str]]) -> list[float]:
    """Return the mean log-probability, in nats, of each answer's tokens after its prompt.

    Args:
        anatomy: The model's parts.
        tokenizer: Its tokenizer.
        pairs: Prompts and answers.
    """
    rows = [row_of(tokenizer, prompt, prompt, answer) for prompt, answer in pairs]
    order = sorted(range(len(rows)), key=lambda index: len(rows[index].tokens))
    found = [0.0] * len(rows)
    for start in range(0, len(rows), AT_ONCE):
        some = order[start : start + AT_ONCE]
        for index, value in zip(some, _scored(anatomy, [rows[index] for index in some]), strict=True):
            found[index] = value
    return found


@torch.no_grad()
def _scored(anatomy: Anatomy, rows: Sequence[Row]) -> list[float]:
    longest = max(len(row.tokens) for row in rows)
    tokens = torch.tensor([[*row.tokens, *[0] * (longest - len(row.tokens))] for row in rows], device=anatomy.device)
    mask = torch.tensor([[1] * len(row.tokens) + [0] * (longest - len(row.tokens)) for row in rows]).to(tokens)
    logits = anatomy.model(input_ids=tokens, attention_mask=mask, use_cache=False).logits
    return [_of_answer(one, row) for one, row in zip(logits, rows, strict=True)]


def _of_answer(logits: torch.Tensor, row: Row) -> float:
    begin, end = len(row.tokens) - row.targets, len(row.tokens)
    answer = torch.tensor(row.tokens[begin:], device=logits.device)
    logp = logits[begin - 1 : end - 1].float().log_softmax(-1)
    return float(logp.gather(-1, answer[:, None]).mean())
