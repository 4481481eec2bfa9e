"""Put a run-time part beside a version's weights, with the parts that it carries already."""

from __future__ import annotations

import shutil
from pathlib import Path

from amends.errors import BadInput
from amends.operation import Task
from amends.records import canonical_json
from amends.serving.model import attachment_kinds

ORDER = "order.json"


def attach(task: Task, kind: str) -> Path:
    """Begin a version: the source's weights, its other attachments as they are, and an empty folder of this kind.

    A kind that the source already carries keeps its place in the order; a new one comes after the earlier ones.

    Args:
        task: Whose source gets the part.
        kind: The attachment's kind.

    Returns:
        The empty folder.

    Raises:
        BadInput: The task has no source.
    """
    if task.source is None:
        raise BadInput("what stands beside the weights needs a model; give the operation a source")
    task.keep_weights()
    kinds = attachment_kinds(task.source)
    home = task.output / "attachments"
    for other in kinds:
        if other != kind:
            shutil.copytree(task.source / "attachments" / other, home / other, copy_function=shutil.copyfile)
    (home / kind).mkdir(parents=True)
    order = kinds if kind in kinds else (*kinds, kind)
    (home / ORDER).write_bytes(canonical_json(list(order)) + b"\n")
    return home / kind


def earlier(task: Task, kind: str) -> Path | None:
    """Return where the source keeps an attachment of this kind, or None, as where there is no source."""
    if task.source is None:
        return None
    folder = task.source / "attachments" / kind
    return folder if folder.is_dir() else None
