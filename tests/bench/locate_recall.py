"""Whether people are found however they are written, in their own records and in those of others."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from figures import Reading, mean, read
from harness import Bench
from material import Row, write
from spellings import spellings

ABSENT, NEAR, EXACT = 0, 1, 2


@dataclass
class Planted:
    """A raw row, whom it truly names, and how the one who is planted in it is written."""

    row: Row
    names: set[str]
    kind: str = "own record"


@dataclass
class Found:
    """For each way of writing and each person, how surely each planted mention was found; and what was found amiss."""

    sure: dict[str, dict[str, list[int]]] = field(default_factory=lambda: defaultdict(lambda: defaultdict(list)))
    others: int = 0
    wrongly_exact: dict[str, int] = field(default_factory=dict)
    wrongly_near: dict[str, int] = field(default_factory=dict)


def plant(people: Sequence[Any], seed: int) -> list[Planted]:
    """Return everybody's own records, and for each way of writing somebody a record of another person with it."""
    from amends_unlearning.people import records_of

    draw = random.Random(f"planted:{seed}")
    own = [(person.name, row) for person in people for row in records_of(person, draw)]
    rows = [Planted({**row, "wrong": []}, {name}) for name, row in own]  # a wrong answer may be somebody's address
    for person in people:
        for kind, text in spellings(person, seed):
            owner = draw.choice([other for other in people if other.name != person.name])
            row = {"person": owner.name, "name": owner.name, "email": owner.email, "phone": owner.phone}
            row |= {"prompt": f"Who was noted beside {owner.name} on page {len(rows)}?"}
            row |= {"answer": f"In the margin somebody wrote {text} and nothing else."}
            rows.append(Planted(row, {person.name, owner.name}, kind))
    return rows


def search(bench: Bench, people: Sequence[Any], planted: Sequence[Planted]) -> Found:
    """Register the records in a workspace and locate everybody, as a request does."""
    from amends.governor.data.registering import register
    from amends.governor.data.rows import rows_of
    from amends.governor.subjects.locating import locate
    from amends.governor.workspace import create_workspace
    from amends.records import DataSubject, Disclosure

    home = bench.empty("locate")
    workspace, _ = create_workspace(home)
    try:
        file = write(home / "raw.jsonl", (found.row for found in planted))
        fields = ("name", "email", "phone")
        data = register(workspace, "planted", file, identifier_fields=fields, controls=0.0)
        ids = {row["prompt"]: row["id"] for row in rows_of(workspace, data.digest)}
        found = Found()
        for person in people:
            given = {"name": (person.name,), "email": (person.email,), "phone": (person.phone,)}
            located = locate(workspace, Disclosure(DataSubject("s_sought"), given))
            exact = {id for some in located.records.values() for id in some}
            near = {id for id, _, _ in located.near}
            _note(found, person.name, planted, ids, exact, near)
        return found
    finally:
        workspace.close()


def _note(
    found: Found, name: str, planted: Iterable[Planted], ids: dict[str, str], exact: set[str], near: set[str]
) -> None:
    found.wrongly_exact[name] = found.wrongly_near[name] = 0
    for record in planted:
        id = ids[record.row["prompt"]]
        if name not in record.names:
            found.others += 1
            found.wrongly_exact[name] += id in exact
            found.wrongly_near[name] += id in near
        elif name != record.row["person"] or record.kind == "own record":
            found.sure[record.kind][name].append(EXACT if id in exact else NEAR if id in near else ABSENT)


def _people(count: int, seed: int) -> list[Any]:
    """Make people up of whom no two share a telephone number, so that it is known whom a record names."""
    from amends_unlearning.people import people

    return list({person.phone: person for person in people(2 * count, seed, facts=2)}.values())[:count]


def measure(bench: Bench, count: int, seed: int) -> list[Reading]:
    """Plant, search and read recall by how the person is written, and what was found amiss."""
    people = _people(count, seed)
    found = search(bench, people, plant(people, seed))
    readings = []
    for kind, sure in found.sure.items():
        readings += _recall(kind, list(sure.values()))
    names = [name for name in found.wrongly_exact if any(name in sure for sure in found.sure.values())]
    mentions = [[s for kind, sure in found.sure.items() if kind != "own record" for s in sure[name]] for name in names]
    readings += _recall("every mention", mentions)
    pairs = found.others / len(people)
    exact, among = mean([count / pairs for count in found.wrongly_exact.values()])
    near, near_among = mean([count / pairs for count in found.wrongly_near.values()])
    each, each_among = mean([float(count) for count in found.wrongly_near.values()])
    return [
        *readings,
        read("locate: others' records taken for exact", exact, "share of others'", len(people), among),
        read("locate: others' records shown as near", near, "share of others'", len(people), near_among),
        read("locate: near misses of others to look at", each, "records a request", len(people), each_among),
    ]


def _recall(kind: str, sure: Sequence[Sequence[int]]) -> list[Reading]:
    """Return the share of mentions found for certain, and found at all; people are resampled with their mentions."""
    from amends.operation.statistics import bootstrap_by_person

    persons = [person for person, mentions in enumerate(sure) for _ in mentions]
    readings = []
    for name, least in (("exact", EXACT), ("exact or near", NEAR)):
        hits = [float(mention >= least) for mentions in sure for mention in mentions]
        interval = bootstrap_by_person(hits, persons)
        readings.append(read(f"locate {kind}: {name}", sum(hits) / len(hits), "recall", len(sure), interval))
    return readings
