"""Which edits a version holds: the records of every editing step of its recipe, in order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from amends import BadInput
from amends.governor.data.rows import rows_of
from amends.governor.models.recipes import read_recipe
from amends.governor.workspace import Workspace
from amends.ledger import aliases
from amends.ledger.lineage import Version
from amends.records import digest_of
from amends_editing.remarks import compared

FAMILY = "editing."
EDITS = "edits"  # the parameter by which an editing operation takes its records
SEES = ("dpo", "operator", "ml-engineer")  # who registers data may read what edits say


@dataclass(frozen=True)
class Held:
    """An edit that a version holds.

    Args:
        step: The recipe's step that made it, counted from 1.
        operation: What the step ran.
        dataset: Digest of its data set.
        row: The prepared row; names people, and is for the roles in `SEES` only.
        replaced_by: A later step that edited the same fact again, or 0.
    """

    step: int
    operation: str
    dataset: str
    row: dict[str, Any] = field(repr=False)
    replaced_by: int = 0

    @property
    def id(self) -> str:
        """What its file called the edit; registration keeps that as a label beside its own id."""
        return str(self.row.get("label") or self.row["id"])

    def to_json(self, with_text: bool) -> dict[str, Any]:
        """Return the edit as a JSON object, with what it says or without."""
        place = {name: value for name, value in asdict(self).items() if name != "row"}
        row = self.row if with_text else {"verb": self.row["verb"]}
        shown = {"id": self.id} if with_text else {}
        return {**row, "id": str(self.row["id"]), **shown, "record": str(self.row["id"]), **place}

    def shown_id(self, sees: bool) -> str:
        """Return the edit's id for a table: its label may say whom it is about, so not everybody is shown it."""
        return self.id if sees else str(self.row["id"])


def resolve(workspace: Workspace, reference: str) -> Version:
    """Return the version that a reference names.

    Raises:
        UnknownModel: There is none.
        BadInput: It was purged.
    """
    with workspace.database.read() as connection:
        version = aliases.resolve(connection, reference)
    if version.status == "purged":
        raise BadInput(f"{version.name} was purged and its edits with it; take another version of {version.model}")
    return version


def held_edits(workspace: Workspace, version: Version) -> list[Held]:
    """Return the edits of a version, oldest step first."""
    found = list(_steps(workspace, version))
    last: dict[tuple[str, str], int] = {compared(held.row).fact: held.step for held in found}
    steps = [last[compared(held.row).fact] for held in found]
    return [
        replace(held, replaced_by=step) if step != held.step else held for held, step in zip(found, steps, strict=True)
    ]


def _steps(workspace: Workspace, version: Version) -> Iterator[Held]:
    for number, step in enumerate(read_recipe(workspace, version.digest).get("steps", ()), start=1):
        dataset = step["records"].get(EDITS)
        if not step["operation"].startswith(FAMILY) or not dataset:
            continue
        if not workspace.blobs.has(dataset):
            raise BadInput(
                f"the edits of step {number} of {version.name} were purged; take a version that was made since"
            )
        for row in rows_of(workspace, dataset):
            yield Held(number, step["operation"], dataset, row)


def find_edits(held: Sequence[Held], id: str, step: int = 0) -> list[Held]:
    """Return the edits of an id, those of one step where it is given.

    Raises:
        BadInput: There is none.
    """
    found = [one for one in held if one.id == id and step in (0, one.step)]
    if not found:
        raise BadInput(f"this version holds no edit {id!r}{f' in step {step}' if step else ''}; see amends edit list")
    return found


def of_one_step(held: Sequence[Held], ids: Sequence[str], step: int = 0) -> list[Held]:
    """Return the edits of these ids, which one step made.

    Raises:
        BadInput: An id is unknown or stands in several steps, or they are not all of one step.
    """
    chosen = []
    for id in ids:
        found = find_edits(held, id, step)
        if len(found) > 1:
            numbers = ", ".join(str(one.step) for one in found)
            raise BadInput(f"steps {numbers} have an edit {id!r}; say which is meant with --step")
        chosen += found
    if len({one.step for one in chosen}) != 1:
        numbers = ", ".join(map(str, sorted({one.step for one in chosen})))
        raise BadInput(f"these edits are of steps {numbers}; drop those of one step at a time")
    return chosen


def difference(first: Sequence[Held], second: Sequence[Held]) -> tuple[list[Held], list[Held]]:
    """Return the edits that only the first holds, and those that only the second does."""
    here, there = ({digest_of(one.row): one for one in held} for held in (first, second))
    gone = [one for digest, one in here.items() if digest not in there]
    return gone, [one for digest, one in there.items() if digest not in here]
