"""The incidents of a model: what it said once and must not say again, kept as a data set like any other.

So whoever is named in one is found and erased there as everywhere. Its texts lie where those of data sets lie, sealed
under a key of the model's incidents: what went wrong in service may be anybody's secret, and nobody trains on it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from amends.errors import BadRecords, UnknownModel
from amends.governor.data.redacting import BLANK
from amends.governor.data.registering import Registered, register_rows
from amends.governor.data.rows import rows_of
from amends.governor.workspace import Workspace
from amends.ledger import datasets, lineage
from amends.ledger.actions import Action
from amends.ledger.datasets import Dataset
from amends.operation.expecting import NOT_BAD, check_expected
from amends.records import canonical_json, digest_of

ADDS = ("dpo", "safety-engineer", "ml-engineer", "operator")
"""Who may keep an incident, and read those that are kept."""

FORMS = ("question", "text")
"""How a prompt is put: as a question that is answered, or as a text that is continued."""

FIELDS = ("prompt", "bad", "expected", "form", "subject")
Row = Mapping[str, Any]


def suite_name(model: str) -> str:
    """Return the name of the data set that holds a model's incidents."""
    return f"incidents-{model}"


def suite_of(workspace: Workspace, model: str) -> Dataset | None:
    """Return the data set of a model's incidents, or None where it has none."""
    return next(iter(_last(_active(workspace, model))), None)


def incidents_of(workspace: Workspace, model: str) -> list[dict[str, Any]]:
    """Return the incidents of a model, oldest first; they hold texts, and are for the roles in `ADDS` only."""
    suite = suite_of(workspace, model)
    rows = [] if suite is None else list(rows_of(workspace, suite.digest))
    return sorted(rows, key=lambda row: (row.get("added", 0), str(row["id"])))


def add_incidents(workspace: Workspace, model: str, rows: Sequence[Row]) -> Registered:
    """Keep incidents of a model beside those that it has; what held these alone is superseded.

    Args:
        workspace: Where the model is.
        model: Its name.
        rows: Each with `prompt` and `expected`, and perhaps `bad`, `form`, an `id`, and whom it names as `subject`.

    Raises:
        UnknownModel: There is no such model.
        BadRecords: An incident cannot be used.
        Suppressed: It would bring back an erased person.
    """
    actor = workspace.require_role(*ADDS)
    with workspace.database.read() as connection:
        known = lineage.models(connection)
    if model not in known:
        raise UnknownModel(f"there is no model {model!r}; there are {', '.join(known) or 'none'}")
    at = int(datetime.now(UTC).timestamp() * 1000)  # ms, and no text: a scan looks for all texts of who is erased
    fresh = [{**checked(row, f"incident {number}"), "added": at} for number, row in enumerate(rows, start=1)]
    while True:  # until nobody else added one meanwhile
        old = _active(workspace, model)
        kept = _distinct(_as_given(row) for found in _last(old) for row in rows_of(workspace, found.digest))
        whole = [*kept, *(row for row in fresh if row not in kept)]
        made = register_rows(
            workspace, suite_name(model), whole, answer_fields=("bad",), sealed_as=f"records/{suite_name(model)}"
        )
        if _stands_for(workspace, model, old, made.digest, actor.id):
            return made


def checked(row: Row, where: str) -> dict[str, Any]:
    """Return an incident with every field that it needs.

    Raises:
        BadRecords: A field is missing, unknown, or cannot be used; the sentence never says its text.
    """
    if unknown := sorted(row.keys() - {*FIELDS, "id"}):
        raise BadRecords(f"{where}: an incident has no field {unknown[0]!r}; there are {', '.join(FIELDS)} and id")
    whole = {"bad": "", "expected": NOT_BAD, "form": FORMS[0], **row}
    for name in ("prompt", "bad", "expected"):
        if not isinstance(whole.get(name), str) or not (whole[name].strip() or name == "bad"):
            raise BadRecords(f"{where}: {name!r} must be a text that is not empty")
    if whole["form"] not in FORMS:
        raise BadRecords(f"{where}: the form is {' or '.join(FORMS)}")
    check_expected(whole["expected"], whole["bad"], where)
    return _listed(whole)


def _active(workspace: Workspace, model: str) -> list[Dataset]:
    """Return the data sets that hold a model's incidents, newest first; there are several only while one is written."""
    with workspace.database.read() as connection:
        found = datasets.find(connection, status="active")
    return [dataset for dataset in found if dataset.name == suite_name(model)]


def _last(found: Sequence[Dataset]) -> list[Dataset]:
    """Return those that no other of them was made from: who is being erased is not brought back from the one before."""
    before = {dataset.parent for dataset in found}
    return [dataset for dataset in found if dataset.digest not in before]


def _as_given(row: Row) -> dict[str, Any]:
    """Return a registered incident as it was before it was registered, without people who were redacted."""
    given = {name: value for name, value in row.items() if name in (*FIELDS, "added")}
    named = {"subject": [name for name in given["subject"] if BLANK not in name]} if "subject" in given else {}
    return {**given, **named, **({"id": row["label"]} if "label" in row else {})}


def _listed(row: Row) -> dict[str, Any]:
    people = row.get("subject")
    return {**row, "subject": [people]} if isinstance(people, str) else dict(row)


def _distinct(rows: Iterable[Row]) -> list[Row]:
    return list({canonical_json(row): row for row in rows}.values())


def _stands_for(workspace: Workspace, model: str, old: Iterable[Dataset], new: str, actor: str) -> bool:
    """Let a data set stand for those that it was made from; False where another one came meanwhile."""
    before = {found.digest for found in old}
    with workspace.database.transaction() as connection:
        others = {d.digest for d in datasets.find(connection, status="active") if d.name == suite_name(model)} - {new}
        if others - before:
            return False
        datasets.set_status(connection, new, "active")
        for digest in sorted(others):
            datasets.set_status(connection, digest, "superseded")
            key = f"incidents:{digest_of([digest, new])[:16]}"
            workspace.record(connection, key, Action.DATA_SUPERSEDED, {"old": digest, "new": new}, actor)
    return True
