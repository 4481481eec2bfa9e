"""The formats that edits come in, each turned into prepared edit rows: ours, CounterFact, KnowEdit and zsRE."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from enum import StrEnum
from typing import Any

from amends import BadInput, BadRecords
from amends_editing.records import Record

Row = dict[str, Any]


class Format(StrEnum):
    """What a file of edits is written in."""

    EDITS = "edits"
    COUNTERFACT = "counterfact"
    KNOWEDIT = "knowedit"
    ZSRE = "zsre"


OURS = (
    "id", "verb", "subject", "prompt", "target", "old", "rephrases", "neighbours", "portability", "unknown",
    "references",
)  # fmt: skip
VERBS = ("insert", "modify", "erase")
KINDS = {
    "Reasoning": "reasoning",
    "Subject_Aliasing": "alias",
    "Logical_Generalization": "logical",
    "Relation_Specificity": "specificity",
    "Forgetfulness": "forgetfulness",
}
"""Our names for KnowEdit's; the first three follow from the edit, the others must not change."""


def named(format: str) -> Format:
    """Return the format of a name.

    Raises:
        BadInput: There is none.
    """
    if format not in list(Format):
        raise BadInput(f"there is no format {format!r}; there are {', '.join(Format)}")
    return Format(format)


def recognise(record: Record) -> Format:
    """Return what a file is written in, by the fields of its first record.

    Raises:
        BadRecords: They are nobody's.
    """
    keys = record.values.keys()
    if "requested_rewrite" in keys or {"target_new", "locality_prompt"} <= keys:
        return Format.COUNTERFACT
    if "target_new" in keys:
        return Format.ZSRE if "cond" in keys else Format.KNOWEDIT
    if {"src", "alt"} <= keys:
        return Format.ZSRE
    if {"subject", "prompt"} <= keys:
        return Format.EDITS
    raise BadRecords(
        f"{record.where}: these are the fields of no known format; write subject, prompt and target, "
        f"or name the format: {', '.join(Format)}"
    )


def prepared(format: Format, record: Record) -> Row:
    """Return a record as a prepared edit row without its id.

    Raises:
        BadRecords: A field is missing or is not what it should be.
    """
    return READERS[format](record)


def _row(subject: str, prompt: str, target: str, old: str, **more: Any) -> Row:
    """Return a whole row; a change of what is known is a modification, anything else an insertion."""
    lists: Row = {"rephrases": [], "neighbours": [], "portability": []}
    verb = "modify" if old else "insert"
    return {"verb": verb, "subject": subject, "prompt": prompt, "target": target, "old": old, **lists, **more}


def _ours(record: Record) -> Row:
    if not record.values.keys() <= set(OURS):
        known = ", ".join(OURS)
        raise BadRecords(f"{record.where}: it has a field that is not known; an edit may have {known}")
    more: Row = {name: record.texts(name) for name in ("unknown", "references") if name in record}
    if "verb" in record:
        more["verb"] = record.text("verb")
        if more["verb"] not in VERBS:
            raise record.wrong("verb", f"must be {', '.join(VERBS[:-1])} or {VERBS[-1]}")
    return _row(
        record.text("subject"), record.text("prompt"), record.optional("target"), record.optional("old"),
        rephrases=record.texts("rephrases"), neighbours=[_question(part) for part in record.parts("neighbours")],
        portability=[{"kind": part.text("kind"), **_question(part)} for part in record.parts("portability")], **more,
    )  # fmt: skip


def _question(part: Record) -> dict[str, str]:
    return {"prompt": part.text("prompt"), "answer": part.text("answer")}


def _counterfact(record: Record) -> Row:
    if "requested_rewrite" in record:
        return _nested_counterfact(record)
    neighbour = {"prompt": record.optional("locality_prompt"), "answer": record.optional("locality_ground_truth")}
    return _row(
        record.text("subject"), record.text("prompt"), record.text("target_new"), record.text("ground_truth"),
        rephrases=record.texts("rephrase_prompt"), neighbours=[neighbour] if all(neighbour.values()) else [],
    )  # fmt: skip


def _nested_counterfact(record: Record) -> Row:
    """Read the form in which CounterFact was published (Meng et al., 2022)."""
    asked = record.part("requested_rewrite")
    subject, old = asked.text("subject"), asked.part("target_true").text("str")
    return _row(
        subject, asked.text("prompt").replace("{}", subject), asked.part("target_new").text("str"), old,
        rephrases=record.texts("paraphrase_prompts"),
        neighbours=[{"prompt": prompt, "answer": old} for prompt in record.texts("neighborhood_prompts")],
    )  # fmt: skip


def _knowedit(record: Record) -> Row:
    """Read KnowEdit (Zhang et al., 2024); of several right answers to a question the first is kept."""
    subject, target = record.text("subject"), record.answer("target_new")
    if not target:
        raise record.wrong("target_new", "must be a text that is not blank")
    rephrases = [*record.texts("rephrase"), *record.texts("rephrase_prompt")]
    return _row(
        subject, record.text("prompt"), target, record.answer("ground_truth"), rephrases=rephrases,
        portability=[*_asked(record, "portability", subject, target), *_asked(record, "locality", subject, target)],
    )  # fmt: skip


def _asked(record: Record, name: str, subject: str, target: str) -> Iterator[dict[str, str]]:
    """Yield the questions of a group that have an answer, named by what they ask."""
    group = record.part(name)
    for kind in group.values:
        for part in group.parts(kind):
            question = {"prompt": part.optional("prompt"), "answer": part.answer("ground_truth")}
            if all(question.values()):
                yield {"kind": _kind(kind, question, subject, target), **question}


def _kind(kind: str, question: Mapping[str, str], subject: str, target: str) -> str:
    """Return our name of a kind: what asks the new answer for the subject is the edit turned round."""
    is_reverse = target.casefold() in question["prompt"].casefold() and question["answer"] == subject
    return "reverse" if kind == "Logical_Generalization" and is_reverse else KINDS.get(kind, kind.lower())


def _zsre(record: Record) -> Row:
    """Read zsRE as KnowEdit has it, or as it was published for editing (Mitchell et al., 2022)."""
    if "src" not in record:
        return _knowedit(record)
    neighbour = {"prompt": record.optional("loc"), "answer": record.optional("loc_ans")}
    return _row(
        record.text("subject"), record.text("src"), record.text("alt"), record.answer("answers"),
        rephrases=record.texts("rephrase"), neighbours=[neighbour] if all(neighbour.values()) else [],
    )  # fmt: skip


READERS: Mapping[Format, Callable[[Record], Row]] = {
    Format.EDITS: _ours,
    Format.COUNTERFACT: _counterfact,
    Format.KNOWEDIT: _knowedit,
    Format.ZSRE: _zsre,
}
