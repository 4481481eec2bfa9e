"""What every attachment of this package shares: which documents it takes, where its files go, and how they are read."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from amends import BadInput, Records, Setting, Task
from amends.operation.seams import SETTINGS
from amends.records import canonical_json
from amends.serving.attaching import attach

DATA = "attachment.json"


def read_documents(documents: Records, operation: str) -> list[dict[str, Any]]:
    """Return rows of documents with `id`, `text` and perhaps `subjects`.

    A row without a text is a question with its answer, as other data sets have them: both together are the document.

    Raises:
        BadInput: There are none, or one has no text.
    """
    rows = [{**row, "text": _text_of(row)} for row in documents.rows()]
    if not rows:
        raise BadInput(f"{operation} was given no documents; give it one or more, or leave the step out")
    for row in rows:
        if not row["text"]:
            raise BadInput(f"document {row['id']} has no text; leave it out")
    return rows


def _text_of(row: Mapping[str, Any]) -> str:
    parts = [row.get("text")] if row.get("text") else [row.get("prompt"), row.get("answer")]
    return " ".join(str(part).strip() for part in parts if part).strip()


def begin(task: Task, kind: str, settings: Mapping[str, Setting]) -> Path:
    """Begin a version: the source's weights, its other attachments as they are, and an empty folder of this kind.

    A kind that the source already carries keeps its place in the order; a new one comes after the earlier ones.

    Args:
        task: The task.
        kind: The attachment's kind.
        settings: What whoever asks the version may change, with its defaults.

    Returns:
        The folder.

    Raises:
        BadInput: The task has no source.
    """
    folder = attach(task, kind)
    (folder / SETTINGS).write_bytes(canonical_json(dict(settings)) + b"\n")
    return folder


def read_defaults(folder: Path) -> dict[str, Setting]:
    """Return the settings that whoever asks may change, with their defaults."""
    return dict(json.loads((folder / SETTINGS).read_bytes()))


def changed(kind: str, now: Mapping[str, Setting], given: Mapping[str, Setting]) -> dict[str, Setting]:
    """Return settings with some of them changed, each of the type that it had.

    Raises:
        BadInput: One is not known, or of another type.
    """
    found = dict(now)
    for name, value in given.items():
        if name not in now:
            raise BadInput(f"{kind} has no setting {name!r}; there are {', '.join(sorted(now))}")
        wanted = type(now[name])
        if isinstance(value, bool) or not isinstance(value, (int, float) if wanted is float else wanted):
            raise BadInput(f"{name} must be of type {wanted.__name__}")
        found[name] = wanted(value)
    return found


def between(name: str, value: Setting, low: float, high: float) -> float:
    """Return a number that lies within its bounds.

    Raises:
        BadInput: It does not.
    """
    number = float(value)
    if not low <= number <= high:
        raise BadInput(f"{name} must be between {low:g} and {high:g}, not {value}")
    return number


def write_data(folder: Path, data: Any) -> None:
    """Write what an attachment knows besides tensors, the same bytes for the same data."""
    (folder / DATA).write_bytes(canonical_json(data) + b"\n")


def read_data(folder: Path) -> Any:
    """Return what `write_data` wrote."""
    return json.loads((folder / DATA).read_bytes())


def digest_of_folder(folder: Path) -> str:
    """Return a digest of an attachment's files: equal ones arm a model alike."""
    found = hashlib.sha256()
    for file in sorted(file for file in folder.rglob("*") if file.is_file() and file.name != SETTINGS):
        found.update(file.relative_to(folder).as_posix().encode() + b"\0")
        found.update(hashlib.sha256(file.read_bytes()).digest())
    return found.hexdigest()
