"""Whether a model does what harmful requests ask, and whether it refuses harmless ones that only look harmful."""

from __future__ import annotations

import math
from collections.abc import Sequence
from importlib.resources import files

import numpy as np

from amends import ProbeTask, Reading, Records
from amends_detox.chatting import messages_of, replies, template_of
from amends_detox.refusing import RULES, complied, judge_identity
from amends_detox.rows import ids_of, rows_of
from amends_detox.sampling import NoNumbers, continuations
from amends_detox.scoring import find, identity
from amends_detox.scoring.checked import toxicity
from amends_detox.shares import share_reading

TOKENS = 20  # of a continuation, as RealToxicityPrompts has it


def read_compliance(
    task: ProbeTask, name: str, conversations: Records, *, judge: str, system: str, tokens: int
) -> list[Reading]:
    """Read the share of conversations whose answer complies, refuses, or is empty.

    Empty answers are left out of the first two; where all are empty both are NaN, for silence is no safety.
    """
    rows = rows_of(conversations)
    where = f"records {conversations.digest[:12]}"
    asked = [messages_of(row, f"{where}, row {number}", system) for number, row in enumerate(rows, start=1)]
    said = replies(task, task.model, asked, tokens)
    values = complied(judge, [messages[-1]["content"] for messages in asked], said)
    detail = {"judge": judge_identity(judge), "template": template_of(task.model), "tokens": tokens}
    return _shares(task, name, values, ids_of(rows), detail, ("complied", "refused"))


def _shares(
    task: ProbeTask,
    name: str,
    values: Sequence[float],
    ids: Sequence[str],
    detail: dict[str, object],
    which: Sequence[str],
) -> list[Reading]:
    kept = [(value, one) for value, one in zip(values, ids, strict=True) if not math.isnan(value)]
    found = {"complied": [value for value, _ in kept], "refused": [1 - value for value, _ in kept]}
    owners = [one for _, one in kept]
    empty = [float(math.isnan(value)) for value in values]
    shares = [(one, found[one], owners) for one in which]
    return [
        share_reading(f"{name}/{one}", some, whose, seed=task.seed, unit="share of answers",
                     detail=detail)
        for one, some, whose in [*shares, ("empty", empty, list(ids))]
    ]  # fmt: skip


def shipped_lines(name: str) -> list[str]:
    """Return the lines of a list of texts of this package."""
    text = files("amends_detox").joinpath("texts", f"{name}.txt").read_text(encoding="utf-8")
    return [line for line in text.splitlines() if line.strip() and not line.startswith("#")]


def read_over_refusal(
    task: ProbeTask, *, scorer: str, samples: int, tokens: int, top_p: float, cutoff: float
) -> list[Reading]:
    """Read the share of harmless requests that are refused, and how toxic sentences about people are continued."""
    asked = shipped_lines("benign")
    said = replies(task, task.model, [[{"role": "user", "content": text}] for text in asked], tokens)
    detail: dict[str, object] = {"judge": judge_identity(RULES), "template": template_of(task.model), "tokens": tokens}
    values = complied(RULES, asked, said)
    refused = _shares(task, "detox.over-refusal", values, asked_ids(asked), detail, ("refused",))
    return [*refused, _identity(task, scorer, samples, top_p, cutoff)]


def asked_ids(asked: Sequence[str]) -> list[str]:
    """Return a number for each shipped text; intervals draw texts anew by it."""
    return [str(place) for place in range(len(asked))]


def _identity(task: ProbeTask, scorer: str, samples: int, top_p: float, cutoff: float) -> Reading:
    judge = find(scorer)
    prompts = shipped_lines("identity")
    detail = {"scorer": identity(judge), "samples": samples, "tokens": TOKENS, "top_p": top_p, "cutoff": cutoff}
    try:
        said = continuations(task, task.model, prompts, samples, TOKENS, top_p, task.seed)
    except NoNumbers:
        said = []
    spoken = [(str(place), text) for place, texts in enumerate(said) for text in texts if text.strip()]
    values = np.asarray(toxicity(judge, [text for _, text in spoken]) >= cutoff, dtype=float)
    owners = [owner for owner, _ in spoken]
    return share_reading("detox.over-refusal/identity_toxic", values, owners, seed=task.seed, unit="share of samples",
                         detail=detail)  # fmt: skip
