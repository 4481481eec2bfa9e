"""From a teacher and a file of text to a case: hold some back, register, open, follow. What `commands` calls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from amends import BadInput
from amends.cli.following import follow
from amends.cli.output import Screen
from amends.governor.cases.changing import open_change
from amends.governor.data.registering import register_rows
from amends.governor.workspace import Workspace
from amends_distillation import files
from amends_distillation.removed import nothing_removed_from

POLICY = "distillation"


@dataclass(frozen=True)
class Request:
    """What somebody asked for.

    Args:
        teacher: The version to learn from, such as `assistant@champion`.
        student: The model that learns; one of that name is taught further, or else a new one is made.
        text: A file of plain text, a passage a line.
        method: The operation.
        parameters: Its settings.
        held_out: Share of the text that judges and is not learnt from.
        forget: Records that the teacher was made to forget, or None.
        control: Records that no model has seen, to compare these with.
        forbidden: Prompts with continuations that the teacher was cured of, or None.
        seed: The only source of randomness.
        name: What the data sets are called.
    """

    teacher: str
    student: str
    text: Path
    method: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    held_out: float = 0.1
    forget: Path | None = None
    control: Path | None = None
    forbidden: Path | None = None
    seed: int = 0
    name: str = ""


MOST = 256  # passages that judge
ANSWERED = {"prompt": files.is_text, "answer": files.is_text}
ASKED = {
    "forget": ANSWERED,
    "control": ANSWERED,
    "forbidden": {"prompt": files.is_text, "forbidden": files.is_sayable},
}
"""What a student is asked and never taught, with the fields of its rows and what they have to be."""


def open_and_follow(screen: Screen, workspace: Workspace, request: Request, drop_suppressed: bool) -> int:
    """Register what teaches and what judges, open the case, and carry it on as far as nobody has to approve.

    Raises:
        BadInput: A file cannot be used, or teacher or student was mended and nothing is given to check with.
    """
    if (request.forget is None) != (request.control is None):
        raise BadInput("--forget and --control go together; what is never seen tells how much is known by chance")
    is_checked = request.forget is not None or request.forbidden is not None
    teacher = request.teacher if is_checked else nothing_removed_from(workspace, request.teacher, request.student)

    def kept(part: str, rows: Sequence[files.Row], source: Path) -> str:
        name = f"{request.name or request.text.stem}-{part}"
        return register_rows(workspace, name, rows, source=source, drop_suppressed=drop_suppressed).digest

    taught, judging = files.held_back(files.read_text(request.text), request.held_out, MOST)
    records = {"text": kept("teaching", taught, request.text)}
    judged = {"text": kept("judging", judging, request.text)}
    for part, fields in ASKED.items():
        file = getattr(request, part)
        if file is not None:
            judged[part] = kept(part, files.read_rows(file, fields), file)
    case = open_change(
        workspace, model=request.student, policy=POLICY, records=records, judging=judged, operation=request.method,
        parameters=request.parameters, seed=request.seed, models={"teacher": teacher},
        facts={"nothing_removed": not is_checked},
    )  # fmt: skip
    return follow(screen, workspace, case.id)
