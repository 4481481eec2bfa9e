"""Check a batch of edits before anything runs: alone, against each other, and against earlier edits."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from amends_editing.remarks import Checked, Compared, Kind, Remark, Row, compared, edits_named

Edits = Sequence[Compared]
Facts = Mapping[tuple[str, str], Mapping[str, Sequence[str]]]


def check(rows: Iterable[Row], earlier: Iterable[Row] = ()) -> Checked:
    """Check prepared rows.

    Args:
        rows: The batch.
        earlier: The edits that the version holds already, oldest first; the last one about a fact counts.
    """
    edits = [compared(row) for row in rows]
    facts = _by_fact(edits)
    before = list(_against(edits, {edit.fact: edit for edit in map(compared, earlier)}))
    warnings = [*_duplicates(facts), *_reverse(edits), *_composite(edits)]
    return Checked(
        len(edits),
        errors=(*_alone(edits), *_conflicts(facts)),
        warnings=(*warnings, *(remark for remark in before if remark.kind == Kind.REPEATED)),
        contradictions=tuple(remark for remark in before if remark.kind == Kind.CONTRADICTION),
    )


def _alone(edits: Edits) -> Iterator[Remark]:
    """Yield what is wrong with edits by themselves, one remark for each mistake."""
    told = [edit for edit in edits if not edit.is_erasure]
    yield from _mistake(
        Kind.SUBJECT,
        [edit for edit in edits if not edit.names_subject],
        "the prompt does not contain the subject; write the subject just as the prompt does",
    )
    yield from _mistake(
        Kind.ANSWER,
        [edit for edit in told if not edit.target],
        "there is no answer to give; write a target, or erase",
    )
    yield from _mistake(
        Kind.ANSWER,
        [edit for edit in edits if edit.is_erasure and edit.target],
        "an erasure has no target; leave it empty, and name the answer that is to go as old",
    )
    yield from _mistake(
        Kind.UNCHANGED,
        [edit for edit in told if edit.target and edit.target == edit.old],
        "the target is the old answer, so nothing would change; leave the edit out or correct one of them",
    )


def _mistake(kind: Kind, wrong: Edits, sentence: str) -> Iterator[Remark]:
    if wrong:
        ids = tuple(edit.id for edit in wrong)
        yield Remark(kind, ids, f"{edits_named(ids)}: {sentence}")


def _by_fact(edits: Edits) -> Facts:
    """Return the ids of edits by what they are about, and then by the answer that they ask for."""
    facts: dict[tuple[str, str], dict[str, list[str]]] = {}
    for edit in edits:
        facts.setdefault(edit.fact, {}).setdefault(edit.target, []).append(edit.id)
    return facts


def _conflicts(facts: Facts) -> Iterator[Remark]:
    for answers in facts.values():
        if len(answers) > 1:
            ids = tuple(id for same in answers.values() for id in same)
            says = f"{edits_named(ids)} ask for different answers to one prompt; keep one of them"
            yield Remark(Kind.CONFLICT, ids, says)


def _duplicates(facts: Facts) -> Iterator[Remark]:
    for answers in facts.values():
        for ids in answers.values():
            if len(ids) > 1:
                says = f"{edits_named(ids)} ask for the same; one of them would do"
                yield Remark(Kind.DUPLICATE, tuple(ids), says)


def _reverse(edits: Edits) -> Iterator[Remark]:
    """Yield pairs within one relation whose first answer is the second's subject.

    Where the relation runs both ways (spouse, twin city) the second must answer with the first's subject; where it
    runs one way (mother, capital) it must not. Nobody here knows which it is, so both are shown.
    """
    asked: dict[tuple[str, str], dict[str, str]] = {}
    for edit in edits:
        asked.setdefault((edit.relation, edit.subject), {}).setdefault(edit.target, edit.id)
    for (relation, subject), answers in asked.items():
        for target, id in answers.items():
            for back, other in asked.get((relation, target), {}).items():
                if back == subject and subject < target:
                    yield Remark(Kind.REVERSE, (id, other), _both_ways(id, other))
                elif back and subject not in (back, target):
                    yield Remark(Kind.REVERSE, (id, other), _one_way(id, other))


def _both_ways(id: str, other: str) -> str:
    pair = edits_named((id, other))
    return f"{pair} answer with each other's subject; if the relation runs one way only they contradict each other"


def _one_way(id: str, other: str) -> str:
    return (
        f"the answer of edit {id} is the subject of edit {other}, which asks the same and answers otherwise; "
        "if the relation runs both ways they contradict each other"
    )


def _composite(edits: Edits) -> Iterator[Remark]:
    """Yield what edits change together: the answer of some is the subject of others, in another relation."""
    answering = _by_entity((edit.target, edit) for edit in edits if edit.target)
    asking = _by_entity((edit.subject, edit) for edit in edits)
    for entity, first in answering.items():
        then = asking.get(entity, {})
        if then and len(first.keys() | then.keys()) > 1:
            ids, others = _flat(first), _flat(then)
            both = tuple(dict.fromkeys((*ids, *others)))
            if len(both) > 1:
                says = f"the answer of {edits_named(ids)} is the subject of {edits_named(others)}"
                yield Remark(Kind.COMPOSITE, both, f"{says}; what follows from them together changes too")


def _by_entity(named: Iterable[tuple[str, Compared]]) -> dict[str, dict[str, list[str]]]:
    """Return the ids of edits by who or what is named, and then by relation."""
    found: dict[str, dict[str, list[str]]] = {}
    for entity, edit in named:
        found.setdefault(entity, {}).setdefault(edit.relation, []).append(edit.id)
    return found


def _flat(by_relation: Mapping[str, Sequence[str]]) -> list[str]:
    return [id for ids in by_relation.values() for id in ids]


def _against(edits: Edits, earlier: Mapping[tuple[str, str], Compared]) -> Iterator[Remark]:
    """Yield what edits say again, or otherwise, of the version's own."""
    for edit in edits:
        before = earlier.get(edit.fact)
        if before is None:
            continue
        if edit.target == before.target:
            says = f"edit {edit.id} asks for what edit {before.id} of this version did"
            yield Remark(Kind.REPEATED, (edit.id,), says, (before.id,))
        else:
            says = f"edit {edit.id} asks for another answer than edit {before.id} of this version did"
            yield Remark(Kind.CONTRADICTION, (edit.id,), says, (before.id,))
