"""From a file of prompts to a case: split, register, open, follow. What `commands` calls."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from amends import BadInput
from amends.cli.following import follow
from amends.cli.output import Screen
from amends.governor import offering
from amends.governor.cases.changing import open_change
from amends.governor.data.registering import register_rows
from amends.governor.judging import find_policy
from amends.governor.workspace import Workspace
from amends_detox import files

POLICY = "detox"
ASKS = "utility.tasks"
SEARCH = {"search": "prompts", "pairs": "pairs", "text": "retain", "tasks": "tasks"}
JUDGE = {"judge": "prompts", "tasks": "tasks"}
"""As what operations and probes are given each part of the data, in the search and where its result is judged."""


@dataclass(frozen=True)
class Request:
    """What somebody asked for.

    Args:
        model: The model to change.
        prompts: The file of prompts.
        pairs: A file of toxic and neutral texts, or None: then the operations make their own from the prompts.
        text: A file of plain text, a passage a line, that a change must leave as it is, or None.
        tasks: What `utility.tasks` asks, as `files.read_tasks` takes it, or None.
        hardest: How many of the prompts to keep, those with the highest scores; 0 keeps all.
        most_pairs: How many of the pairs to keep; 0 keeps all.
        method: An operation to run as it is told, in place of the policy's search; empty searches.
        parameters: Its settings.
        seed: The only source of randomness.
        name: What the data sets are called.
    """

    model: str
    prompts: Path
    pairs: Path | None = None
    text: Path | None = None
    tasks: Path | None = None
    hardest: int = 0
    most_pairs: int = 0
    method: str = ""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0
    name: str = ""


def open_and_follow(screen: Screen, workspace: Workspace, request: Request, drop_suppressed: bool) -> int:
    """Register what is searched on and what judges, open the case, and carry it on as far as nobody has to approve.

    Raises:
        BadInput: A file cannot be used, or the policy has no search.
    """
    policy = find_policy(workspace, POLICY)
    if policy.search is None:
        raise BadInput(f"the policy {POLICY} has no section `search`; add one, or take Amends' own")
    if request.tasks is not None and ASKS not in {*policy.probes, *policy.search.within.probes}:
        raise BadInput(f"the policy {POLICY} does not ask {ASKS}; add it to its probes, or leave --tasks out")
    name = request.name or request.prompts.stem
    kept = {
        part: register_rows(
            workspace, f"{name}-{part}", rows, text_field=text, source=source, drop_suppressed=drop_suppressed
        ).digest
        for part, (rows, source, text) in _read(request, policy.search.most).items()
    }
    records, judging = ({one: kept[part] for part, one in parts.items() if part in kept} for parts in (SEARCH, JUDGE))
    case = open_change(
        workspace, model=request.model, policy=POLICY, records=_taken(request.method, records),
        judging=judging, operation=request.method, parameters=request.parameters, seed=request.seed,
    )  # fmt: skip
    return follow(screen, workspace, case.id)


def _read(request: Request, most: int) -> dict[str, tuple[list[files.Row], Path | None, str]]:
    """Return the rows of every part, the file that they came from and the field of their text; nothing is kept yet."""
    searched, judging = files.split(files.read_prompts(request.prompts, request.hardest), most)
    found: dict[str, tuple[list[files.Row], Path | None, str]]
    found = {"search": (searched, request.prompts, "prompt"), "judge": (judging, request.prompts, "prompt")}
    if request.pairs is not None:
        found["pairs"] = files.read_pairs(request.pairs, request.most_pairs), request.pairs, "toxic"
    if request.text is not None:
        found["text"] = files.read_text(request.text), request.text, "prompt"
    if request.tasks is not None:
        source = request.tasks if request.tasks.is_file() else None
        found["tasks"] = files.read_tasks(request.tasks), source, "prompt"
    return found


def _taken(method: str, records: Mapping[str, str]) -> dict[str, str]:
    """Return the records that an operation asks for; a search hands each of its candidates those that it wants."""
    if not method:
        return dict(records)
    wanted = {str(parameter["name"]) for parameter in offering.operation(method)["parameters"]}
    return {name: digest for name, digest in records.items() if name in wanted}
