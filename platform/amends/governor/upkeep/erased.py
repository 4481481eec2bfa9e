"""Who must not come back: the suppression list and what was destroyed, to be applied to an older backup."""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from amends.errors import BadInput, Tampered, UnknownCase
from amends.governor.workspace import Workspace
from amends.ledger import cases, people, suppression
from amends.records import canonical_json
from amends.vault.keyfiles import write_private
from amends.vault.keys import Keyring

if TYPE_CHECKING:
    from sqlalchemy import Connection

KIND = "amends suppression list"
PURPOSE = "suppression/export"
PSEUDONYM = re.compile(r"s_[0-9a-f]{24}")


@dataclass(frozen=True, repr=False)
class Erased:
    """What a workspace knows of people who were erased and of what was destroyed with them; keyed hashes and ids only.

    Args:
        identifiers: `(kind, keyed hash, case)` of each suppressed identifier.
        case_keys: Cases whose key was destroyed.
        subjects: Their pseudonyms, where their case found one.
        people: Ids of those who act no more.
        key_check: Proves which suppression key made the hashes.
    """

    identifiers: tuple[tuple[str, str, str], ...]
    case_keys: tuple[str, ...]
    subjects: tuple[str, ...]
    people: tuple[str, ...]
    key_check: str

    def __add__(self, other: Erased) -> Erased:
        """Return what either knows, under the key of the first."""
        return Erased(
            tuple(sorted({*self.identifiers, *other.identifiers})),
            tuple(sorted({*self.case_keys, *other.case_keys})),
            tuple(sorted({*self.subjects, *other.subjects})),
            tuple(sorted({*self.people, *other.people})),
            self.key_check,
        )


def key_check(keyring: Keyring) -> str:
    """Return what only the owner of a suppression key can compute, and what tells two of them apart."""
    return keyring.mac(PURPOSE, "which key")


def erased_of(workspace: Workspace) -> Erased:
    """Return what a workspace knows of people who were erased."""
    with workspace.database.read() as connection:
        identifiers = suppression.entries(connection)
        subjects = {_subject(connection, case) for case in {case for _, _, case in identifiers}}
        gone = [person.id for person in people.everyone(connection, removed=True) if person.removed_at is not None]
    marks = (workspace.home / "keys" / "cases").glob("*.destroyed")
    keys = sorted(unquote(mark.name.removesuffix(".destroyed")) for mark in marks)
    return Erased(
        identifiers, tuple(keys), tuple(sorted(subjects - {""})), tuple(sorted(gone)), key_check(workspace.keyring)
    )


def _subject(connection: Connection, case: str) -> str:
    """Return whom a case found, or nothing where it found nobody or several."""
    try:
        found = cases.get(connection, case).subject.pseudonym
    except UnknownCase:
        return ""
    return found if PSEUDONYM.fullmatch(found) else ""


def export_erased(workspace: Workspace, file: Path) -> dict[str, Any]:
    """Write the suppression list to a private file, for backups to be restored with where the workspace is lost.

    It holds keyed hashes that are worth nothing without the workspace's suppression key, which also authenticates it.

    Raises:
        BadInput: The file is there already, or cannot be written.
    """
    workspace.require_role("operator", "dpo")
    if file.exists():
        raise BadInput(f"{file} is there already; name a new file")
    found = erased_of(workspace)
    body = {
        "kind": KIND,
        "identifiers": [list(entry) for entry in found.identifiers],
        "case_keys": list(found.case_keys),
        "subjects": list(found.subjects),
        "people": list(found.people),
        "key_check": found.key_check,
    }
    mac = workspace.keyring.mac(PURPOSE, canonical_json(body).decode())
    file.parent.mkdir(parents=True, exist_ok=True)
    write_private(file, canonical_json({**body, "mac": mac}))
    return {"file": str(file), "identifiers": len(found.identifiers)}


def read_erased(place: Path, keyring: Keyring) -> Erased:
    """Return the list of a workspace's directory or of a file that `export_erased` wrote.

    Args:
        place: The directory or the file.
        keyring: Of the workspace that the list is for; only its own suppression key can have made the list.

    Raises:
        BadInput: There is neither, or the list belongs to another workspace.
        Tampered: The file was changed.
    """
    found = _of_home(place) if place.is_dir() else _of_file(place, keyring)
    if found.key_check != key_check(keyring):
        raise BadInput(
            f"{place} is of a workspace with another suppression key, so its list names nobody in this backup; "
            "give the workspace that the backup was made from"
        )
    return found


def _of_home(home: Path) -> Erased:
    if not (home / "keys").is_dir():
        raise BadInput(f"there is no workspace at {home}; give its directory, or an exported suppression list")
    workspace = Workspace(home.absolute())
    try:
        return erased_of(workspace)
    finally:
        workspace.close()


def _of_file(file: Path, keyring: Keyring) -> Erased:
    no_list = f"{file} is no suppression list; give a workspace's directory, or a file that Amends exported"
    try:
        value = json.loads(file.read_bytes())
        mac = value.pop("mac")
        found = Erased(
            tuple((str(kind), str(hash), str(case)) for kind, hash, case in value["identifiers"]),
            tuple(map(str, value["case_keys"])),
            tuple(map(str, value["subjects"])),
            tuple(map(str, value["people"])),
            str(value["key_check"]),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise BadInput(no_list) from None
    if value.get("kind") != KIND:
        raise BadInput(no_list)
    if found.key_check == key_check(keyring) and mac != keyring.mac(PURPOSE, canonical_json(value).decode()):
        raise Tampered(f"{os.fspath(file)} is not the list that was exported; export it again")
    return found
