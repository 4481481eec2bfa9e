"""Check a file of edits for somebody at a screen: alone, and against what a version holds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from amends import BadRecords
from amends.cli.output import Screen
from amends.governor.workspace import Workspace
from amends_editing import holding
from amends_editing.checks import check
from amends_editing.files import read_edits
from amends_editing.remarks import Checked, Remark

SHOWN = 5  # remarks of a kind that are said on the way


def earlier_rows(workspace: Workspace, model: str) -> list[dict[str, Any]]:
    """Return the edits that a version holds, for who may read them.

    Raises:
        Denied: Who acts may not; comparing would tell them what the version holds.
    """
    workspace.require_role(*holding.SEES)
    return [held.row for held in holding.held_edits(workspace, holding.resolve(workspace, model))]


def check_file(screen: Screen, file: Path, format: str, model: str) -> Checked:
    """Check a file of edits, alone or against what a version holds."""
    rows = read_edits(file, format)
    if not model:
        return check(rows)
    with screen.workspace() as workspace:
        return check(rows, earlier_rows(workspace, model))


def said(found: Checked) -> Iterator[str]:
    """Yield everything that a check found, and the counts."""
    for title, remarks in _groups(found):
        yield from (f"{title}: {remark.sentence}" for remark in remarks)
    yield (
        f"edits: {found.edits}, of them refused: {len(found.refused)}; warnings: {len(found.warnings)}; "
        f"contradictions of earlier edits: {len(found.contradictions)}"
    )


def _groups(found: Checked) -> tuple[tuple[str, Sequence[Remark]], ...]:
    decides = "for the policy to decide"
    return ("error", found.errors), ("warning", found.warnings), (decides, found.contradictions)


def checked_rows(
    screen: Screen, workspace: Workspace, model: str, file: Path, format: str, leave_out: bool
) -> tuple[list[dict[str, Any]], int]:
    """Return a file's edits once they were checked, and how many contradict earlier ones; both are said on the way.

    Raises:
        BadRecords: The check refuses some of them and nobody wants those left out, or none is left.
    """
    rows, earlier = read_edits(file, format), earlier_rows(workspace, model)
    found = check(rows, earlier)
    if found.errors and not leave_out:
        raise BadRecords(
            f"{file}: {found.errors[0].sentence}; refused in all: {len(found.refused)}, see amends edit check, or give "
            "--leave-out"
        )
    if found.errors:
        screen.say(f"left out {len(found.refused)} of {found.edits} edits that the check refuses")
        rows = [row for row in rows if row["id"] not in found.refused]
        found = check(rows, earlier)
    if not rows:
        raise BadRecords(f"{file}: the check refuses every edit; see amends edit check")
    for title, remarks in _groups(found):
        for remark in remarks[:SHOWN]:
            screen.say(f"{title}: {remark.sentence}")
        if len(remarks) > SHOWN:
            screen.say(f"{title}: {len(remarks) - SHOWN} more like these; see amends edit check")
    return rows, len(found.contradictions)
