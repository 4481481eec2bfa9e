"""What a check of edits says, and the keys by which it compares them."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

NAMED = 5  # ids that a sentence names; `ids` has them all

Row = Mapping[str, Any]


class Kind(StrEnum):
    """What a remark is about."""

    SUBJECT = "subject"
    ANSWER = "answer"
    UNCHANGED = "unchanged"
    CONFLICT = "conflict"
    DUPLICATE = "duplicate"
    REVERSE = "reverse"
    COMPOSITE = "composite"
    REPEATED = "repeated"
    CONTRADICTION = "contradiction"


@dataclass(frozen=True)
class Remark:
    """Something about some edits, said by their ids and never by their text.

    Args:
        kind: What about.
        ids: Which edits.
        sentence: What is the matter and, for an error, the way out.
        earlier: Which edits of the version, for a repetition or a contradiction.
    """

    kind: Kind
    ids: tuple[str, ...]
    sentence: str
    earlier: tuple[str, ...] = ()


@dataclass(frozen=True)
class Checked:
    """What was found in a batch.

    Args:
        edits: How many there are.
        errors: They refuse the batch.
        warnings: They are shown.
        contradictions: Of earlier edits of the version; a policy decides about them.
    """

    edits: int
    errors: tuple[Remark, ...] = ()
    warnings: tuple[Remark, ...] = ()
    contradictions: tuple[Remark, ...] = ()

    @property
    def refused(self) -> frozenset[str]:
        """The ids of the edits that an error names."""
        return frozenset(id for error in self.errors for id in error.ids)


def normalised(text: str) -> str:
    """Return a text without the differences of case, spaces and compatible characters."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


@dataclass(frozen=True, repr=False)
class Compared:
    """An edit as the checks compare it: texts without the differences that `normalised` takes away.

    Args:
        id: The edit's.
        is_erasure: Whether it has no answer on purpose.
        names_subject: Whether the prompt contains the subject, letter by letter.
        subject: Who or what it is about.
        prompt: What it asks.
        relation: What the prompt asks of any subject.
        target: The answer from now on.
        old: The answer so far.
    """

    id: str
    is_erasure: bool
    names_subject: bool
    subject: str
    prompt: str
    relation: str
    target: str
    old: str

    @property
    def fact(self) -> tuple[str, str]:
        """What two edits share that are about the same."""
        return self.subject, self.prompt


def compared(row: Row) -> Compared:
    """Return a prepared row as it is compared; a registered one keeps its own id as its label."""
    subject, prompt = normalised(row["subject"]), normalised(row["prompt"])
    return Compared(
        id=str(row.get("label") or row["id"]),
        is_erasure=row["verb"] == "erase",
        names_subject=bool(row["subject"]) and row["subject"] in row["prompt"],
        subject=subject,
        prompt=prompt,
        relation=prompt.replace(subject, "{}") if subject else prompt,
        target=normalised(row.get("target") or ""),
        old=normalised(row.get("old") or ""),
    )


def edits_named(ids: Sequence[str]) -> str:
    """Return edits by name, as the subject of a sentence."""
    if len(ids) == 1:
        return f"edit {ids[0]}"
    if len(ids) > NAMED:
        return f"edits {', '.join(ids[:NAMED])} and {len(ids) - NAMED} more"
    return f"edits {', '.join(ids[:-1])} and {ids[-1]}"
