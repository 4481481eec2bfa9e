"""Register training data that knows whose it is."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from amends.errors import BadRecords, Suppressed
from amends.governor.data.declaring import check_licence, declare_licence
from amends.governor.data.rawfiles import RawRow, read_rows, shaped_rows
from amends.governor.data.rows import put_rows, text_of
from amends.governor.workspace import Workspace
from amends.ledger import datasets, suppression
from amends.ledger.actions import Action
from amends.ledger.datasets import Dataset, Membership
from amends.records import canonical_json, digest_of
from amends.store.digests import digest_file
from amends.vault import identifiers, subjects

CONTROL_SHARE = 0.05
FEWEST_CONTROLS = 2


@dataclass(frozen=True)
class Registered:
    """What registration kept; `digest` names the training records, `control` the withheld ones."""

    name: str
    digest: str
    control: str
    records: int
    subjects: int
    controls: int
    withheld: int
    dropped: int
    groups: Mapping[int, int] = field(default_factory=dict)
    ambiguous: int = 0


@dataclass
class _Person:
    """One person while their records are read; lives in memory only."""

    pseudonym: str
    name: str
    identifiers: dict[str, set[str]]


def register(
    workspace: Workspace,
    name: str,
    file: Path,
    *,
    subject_field: str = "person",
    identifier_fields: Sequence[str] = (),
    controls: float = CONTROL_SHARE,
    drop_suppressed: bool = False,
    licence: str = "",
) -> Registered:
    """Copy a file's records into the workspace, keyed by whose they are, and withhold controls.

    Args:
        workspace: Where to keep them.
        name: The data set's name.
        file: JSON Lines; each row has `prompt`, `answer` and, where somebody is named, the subject field; it may have
            `paraphrases`, `wrong` answers, and `ask_rate`, the requests for erasure expected about it in a year.
        subject_field: The field that names the person or persons.
        identifier_fields: Fields that identify the first person, such as name, email, phone.
        controls: Share of persons, in [0, 0.5], drawn by keyed hash and never trained on.
        drop_suppressed: Leave out the records of erased persons instead of refusing the file.
        licence: What the data is under, such as `CC-BY-4.0`: declared. Registering the same file again can add it.

    Raises:
        BadRecords: A line cannot be used.
        BadInput: The licence is no id.
        Suppressed: The file would bring back an erased person.
    """
    actor = workspace.require_role("operator", "ml-engineer", "dpo")
    if not 0 <= controls <= 0.5:
        raise BadRecords(f"controls must be between 0 and 0.5, not {controls}; 0.05 withholds one person in twenty")
    check_licence(licence)
    rows = list(read_rows(file, subject_field, identifier_fields))
    made = _register(workspace, name, str(file), rows, controls, drop_suppressed, digest_file(file), actor.id)
    if licence:
        declare_licence(workspace, made.digest, licence, actor.id)
    return made


def register_rows(
    workspace: Workspace,
    name: str,
    rows: Iterable[Mapping[str, Any]],
    *,
    subject_field: str = "subject",
    identifier_fields: Sequence[str] = (),
    answer_fields: Sequence[str] = ("answer", "target", "old"),
    text_field: str = "prompt",
    source: Path | None = None,
    drop_suppressed: bool = False,
    sealed_as: str = "",
) -> Registered:
    """Copy rows of any shape into the workspace, keyed by whose they are; nobody is withheld.

    Every field is kept, and every text in it, however deep, is searched for people from then on. A row gets a keyed
    id; what it called itself stays as its `label`.

    Args:
        workspace: Where to keep them.
        name: The data set's name.
        rows: JSON objects, each with a text, and an `id` of its own where it has one.
        subject_field: The field that names whom a row is about.
        identifier_fields: Fields that identify that person further.
        answer_fields: Where a row's answer stands, the first that is not empty; kept as `answer` for every reader.
        text_field: The field whose text must be there.
        source: The user's file that they came from, which stays outside.
        drop_suppressed: Leave out the rows of erased persons instead of refusing them.
        sealed_as: The name of the workspace's key under which they rest; empty: as they are.

    Raises:
        BadRecords: A row cannot be used.
        Suppressed: The rows would bring back an erased person.
    """
    actor = workspace.require_role("operator", "ml-engineer", "safety-engineer", "dpo")
    checked = list(shaped_rows(rows, subject_field, identifier_fields, answer_fields, text_field))
    digest = None if source is None else digest_file(source)
    return _register(workspace, name, f"data set {name}", checked, 0.0, drop_suppressed, digest, actor.id, sealed_as)


def _register(
    workspace: Workspace,
    name: str,
    where: str,
    rows: list[RawRow],
    controls: float,
    drop_suppressed: bool,
    source_digest: str | None,
    actor: str,
    sealed_as: str = "",
) -> Registered:
    if not rows:
        raise BadRecords(f"{where} has no records; a data set needs at least one")
    _check_names(where, rows)
    rows, dropped = _without_suppressed(workspace, rows, drop_suppressed)
    persons = _persons(workspace, rows)
    _check_title(workspace, name, persons.values())
    prepared = _prepare(workspace, rows, persons)
    withheld = _controls(workspace, persons.values(), controls)
    train = [row for row in prepared if not withheld.intersection(row["subjects"])]
    control = [row for row in prepared if withheld.intersection(row["subjects"])]
    counted = (withheld, dropped, _ambiguous(persons.values()))
    registered = _keep(workspace, name, train, control, *counted, sealed_as)
    _enter(workspace, registered, source_digest, persons, train, withheld, actor)
    return registered


def _check_names(where: str, rows: Iterable[RawRow]) -> None:
    """Refuse a name that no index could find again.

    Raises:
        BadRecords: It has neither a letter nor a digit; the sentence names the line.
    """
    for row in rows:
        for name in row.people:
            if not identifiers.normalise("name", name):
                raise BadRecords(f"{where}, line {row.line}: a name has no letter and no digit; correct it")


def _check_title(workspace: Workspace, title: str, persons: Iterable[_Person]) -> None:
    """Refuse to call a data set after a person: MLflow shows what it is called, and keeps it longer than the data.

    Raises:
        BadRecords: Its name names somebody of the data or of the workspace, or somebody who was erased.
    """
    keyring, named = workspace.keyring, set(identifiers.windows(title))
    with workspace.database.read() as connection:
        known = datasets.lookup(connection, sorted(subjects.text_macs(keyring, "index", title)))
        erased = suppression.hits(connection, sorted(subjects.text_macs(keyring, "suppression", title)))
    if known or erased or any(named.intersection(identifiers.name_forms(person.name)) for person in persons):
        raise BadRecords("the name of the data set names a person, and MLflow would keep it; give it another name")


def _without_suppressed(workspace: Workspace, rows: list[RawRow], drop: bool) -> tuple[list[RawRow], int]:
    keyring = workspace.keyring
    macs = {
        row.line: subjects.text_macs(keyring, "suppression", row_text(row))
        | {mac for _, mac in subjects.suppression_entries(keyring, _identifiers(row))}
        for row in rows
    }
    with workspace.database.read() as connection:
        hit = suppression.hits(connection, sorted(set().union(*macs.values())))
    lines = [line for line, found in macs.items() if found & hit]
    if lines and not drop:
        raise Suppressed(
            f"{len(lines)} records name a person who was erased (first on line {lines[0]}); remove them, "
            "or register with --drop-suppressed to leave them out"
        )
    gone = set(lines)
    return [row for row in rows if row.line not in gone], len(lines)


def row_text(row: RawRow) -> str:
    """Return every text of a row, on lines."""
    return text_of(row.content)


def _identifiers(row: RawRow) -> dict[str, tuple[str, ...]]:
    return {**row.identifiers, "name": (*row.identifiers.get("name", ()), *row.people)}


def _persons(workspace: Workspace, rows: Iterable[RawRow]) -> dict[str, _Person]:
    persons: dict[str, _Person] = {}
    for row in rows:
        for place, name in enumerate(row.people):
            key = identifiers.normalise("name", name)
            if key not in persons:
                alias = subjects.pseudonym(workspace.keyring, {"name": (name,)})
                persons[key] = _Person(alias, name, {"name": {name}})
            if place == 0:
                for kind, values in row.identifiers.items():
                    persons[key].identifiers.setdefault(kind, set()).update(values)
    return persons


def _ambiguous(persons: Iterable[_Person]) -> int:
    return sum(
        any(len(values) > 1 for kind, values in person.identifiers.items() if kind != "name") for person in persons
    )


def _prepare(workspace: Workspace, rows: Iterable[RawRow], persons: Mapping[str, _Person]) -> list[dict[str, Any]]:
    by_form = {form: person for person in persons.values() for form in identifiers.name_forms(person.name)}
    by_value = {
        identifiers.normalise(kind, value): person
        for person in persons.values()
        for kind, values in person.identifiers.items()
        if kind != "name"
        for value in values
    }
    known = by_value | by_form
    prepared: dict[str, dict[str, Any]] = {}
    for row in rows:
        named = {persons[identifiers.normalise("name", name)].pseudonym: name for name in row.people}
        for window in identifiers.windows(row_text(row)):
            if window in known:
                named.setdefault(known[window].pseudonym, known[window].name)
        content = {**row.content, "subjects": list(named), "names": list(named.values())}
        id = workspace.keyring.mac("index", "record", canonical_json(content).decode())[:24]
        prepared[id] = {"id": id, **content}
    return list(prepared.values())


def _controls(workspace: Workspace, persons: Iterable[_Person], share: float) -> set[str]:
    names = {person.pseudonym for person in persons}
    order = sorted(names, key=lambda pseudonym: workspace.keyring.mac("index", "control", pseudonym))
    wanted = max(FEWEST_CONTROLS, math.ceil(share * len(order))) if share else 0
    return set(order[: min(wanted, len(order) // 2)])


def _groups(rows: Iterable[Mapping[str, Any]]) -> dict[int, int]:
    return dict(sorted(Counter(len(row["subjects"]) for row in rows if len(row["subjects"]) > 1).items()))


def _keep(
    workspace: Workspace,
    name: str,
    train: list[dict[str, Any]],
    control: list[dict[str, Any]],
    withheld: set[str],
    dropped: int,
    ambiguous: int,
    sealed_as: str,
) -> Registered:
    trained = {pseudonym for row in train for pseudonym in row["subjects"]}
    return Registered(
        name=name,
        digest=put_rows(workspace, train, sealed_as=sealed_as),
        control=put_rows(workspace, control, sealed_as=sealed_as),
        records=len(train),
        subjects=len(trained),
        controls=len(withheld),
        withheld=len(control),
        dropped=dropped,
        groups=_groups(train),
        ambiguous=ambiguous,
    )


def _enter(
    workspace: Workspace,
    registered: Registered,
    source_digest: str | None,
    persons: Mapping[str, _Person],
    train: list[dict[str, Any]],
    withheld: set[str],
    actor: str,
) -> None:
    counts = Counter(pseudonym for row in train for pseudonym in row["subjects"])
    entries = [
        (person.pseudonym, kind, mac)
        for person in persons.values()
        for kind, mac in subjects.index_entries(
            workspace.keyring, {kind: tuple(sorted(values)) for kind, values in person.identifiers.items()}
        )
    ]
    dataset = Dataset(
        digest=registered.digest,
        name=registered.name,
        records=registered.records,
        subjects=registered.subjects + registered.controls,
        controls=registered.controls,
        source_digest=source_digest,
        settings={"control": registered.control, "groups": {str(k): v for k, v in registered.groups.items()}},
    )
    members = [
        *(Membership(pseudonym, count, False) for pseudonym, count in sorted(counts.items())),
        *(Membership(pseudonym, 0, True) for pseudonym in sorted(withheld)),
    ]
    with workspace.database.transaction() as connection:
        datasets.register(connection, dataset, members)
        datasets.add_to_index(connection, entries)
        body = {
            "dataset": registered.digest,
            "records": registered.records,
            "subjects": registered.subjects,
            "controls": registered.controls,
            "dropped": registered.dropped,
        }
        key = f"data:{digest_of([registered.name, registered.digest])[:16]}"
        workspace.record(connection, key, Action.DATA_REGISTERED, body, actor)
    workspace.registry.log_dataset(registered.name, registered.digest, f"amends:{registered.digest}")
