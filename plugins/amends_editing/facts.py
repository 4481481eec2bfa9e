"""A fact to edit, and the rows of tokens that show it to a model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from amends import BadInput
from amends.serving.encoding import beginning, encode_answer
from amends_editing.tails import Row


class Verb(StrEnum):
    """What an edit does to a fact."""

    INSERT = "insert"
    MODIFY = "modify"
    ERASE = "erase"


@dataclass(frozen=True, repr=False)
class Question:
    """A prompt and the answer that is looked for."""

    prompt: str
    answer: str
    kind: str = ""


@dataclass(frozen=True, repr=False)
class Fact:
    """One edit.

    Args:
        id: Names it within its file.
        verb: What to do.
        subject: Who or what it is about, just as it stands in the prompt.
        prompt: The beginning of a sentence that names the subject and asks for the answer.
        target: The answer to give from now on; empty for an erasure.
        old: The answer so far; empty where nobody says.
        rephrases: The same question in other words.
        neighbours: Questions about others, that must stay answered as they are.
        portability: Questions that follow from the edit (`reasoning`, `alias`) or must not (`specificity`).
    """

    id: str
    verb: Verb
    subject: str
    prompt: str
    target: str
    old: str = ""
    rephrases: tuple[str, ...] = ()
    neighbours: tuple[Question, ...] = ()
    portability: tuple[Question, ...] = field(default=())

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Fact:
        """Read one row of a prepared file."""
        questions = {
            name: tuple(Question(q["prompt"], q.get("answer", ""), q.get("kind", "")) for q in row.get(name, ()))
            for name in ("neighbours", "portability")
        }
        target, old = (str(row.get(name) or "") for name in ("target", "old"))
        who, asked = str(row["subject"]), str(row["prompt"])
        rephrases = tuple(map(str, row.get("rephrases", ())))
        return cls(
            str(row["id"]), Verb(row["verb"]), who, asked, target, old, rephrases,
            questions["neighbours"], questions["portability"],
        )  # fmt: skip


def row_of(tokenizer: Any, prompt: str, subject: str, answer: str = "", before: str = "") -> Row:
    """Return a prompt, something before it and an answer after it, as a row that knows where its subject ends.

    Args:
        tokenizer: A fast tokenizer; character offsets are needed.
        prompt: Names the subject.
        subject: Its last mention in the prompt counts.
        answer: What is to be predicted, or empty.
        before: A context.

    Raises:
        BadInput: The prompt does not name the subject.
    """
    at = prompt.rfind(subject)
    if at < 0 or not subject:
        raise BadInput("an edit's prompt does not contain its subject; write the subject just as the prompt does")
    text = before + prompt.rstrip()
    end = len(before) + at + len(subject)
    found = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    last = max(index for index, (start, stop) in enumerate(found["offset_mapping"]) if start < end and stop > start)
    start = beginning(tokenizer)
    wanted = encode_answer(tokenizer, answer) if answer else []
    return Row((*start, *found["input_ids"], *wanted), last + len(start), len(wanted))


def rows_of(tokenizer: Any, fact: Fact, answer: str, contexts: Sequence[str]) -> list[Row]:
    """Return the fact after each context; the first context is empty."""
    return [row_of(tokenizer, fact.prompt, fact.subject, answer, context) for context in contexts]
