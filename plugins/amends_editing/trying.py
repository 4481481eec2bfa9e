"""Try a few edits in this process: what a version answers before and after, with nothing kept."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from amends import Operation, Records, Task
from amends.governor.models.asking import served_version, verified_tree
from amends.governor.workspace import Workspace
from amends.operation.files import read_reference, weights_directory
from amends.records import canonical_json
from amends.scheduler.checks import check_source
from amends.scheduler.steady import steady
from amends.serving import open_version
from amends_editing.holding import EDITS

ANSWER_TOKENS = 16


@dataclass(frozen=True)
class Tried:
    """What became of one edit.

    Args:
        id: The edit's.
        prompt: What was asked; the edit's own prompt or a rephrase.
        before: The version's answer.
        after: The answer once edited.
    """

    id: str
    prompt: str = field(repr=False)
    before: str = field(repr=False)
    after: str = field(repr=False)


def try_edits(
    workspace: Workspace,
    model: str,
    method: str,
    rows: Sequence[Mapping[str, Any]],
    parameters: Mapping[str, Any],
    seed: int,
    texts: Sequence[Mapping[str, Any]] = (),
) -> list[Tried]:
    """Edit a copy of a version in a directory that goes again, and ask both.

    Args:
        workspace: Where the version is.
        model: `model@alias`, `model@number`, or `model` for its champion, or its newest version where it has none.
        method: The operation.
        rows: Prepared rows, a few.
        parameters: The operation's scalars.
        seed: The only source of randomness.
        texts: Rows of the text that the operation measures on, where it takes some.

    Raises:
        BadInput: There is no such version, or the operation or a parameter cannot be used.
    """
    version = served_version(workspace, model)
    source = verified_tree(workspace, version.digest)
    operation = workspace.host.operation(method)
    with workspace.cache.scratch("try") as folder:
        records = {EDITS: rows, **({"text": texts} if texts else {})}
        given = {name: _written(folder / f"{name}.jsonl", some) for name, some in records.items()}
        checked = operation.check({**parameters, **given})
        asked = [(str(row["id"]), prompt) for row in rows for prompt in (row["prompt"], *row["rephrases"][:1])]
        with steady(workspace.settings.cpus, seed, torch_needed=True):
            after = _run(workspace, operation, checked, source, version.digest, folder, seed)
            answers = [_answers(workspace, tree, [prompt for _, prompt in asked]) for tree in (source, after)]
    return [Tried(id, prompt, *both) for (id, prompt), *both in zip(asked, *answers, strict=True)]


def _written(path: Path, rows: Sequence[Mapping[str, Any]]) -> Records:
    data = b"".join(canonical_json(row) + b"\n" for row in rows)
    path.write_bytes(data)
    return Records(hashlib.sha256(data).hexdigest(), path)


def _run(
    workspace: Workspace,
    operation: Operation,
    checked: Mapping[str, Any],
    source: Path,
    digest: str,
    folder: Path,
    seed: int,
) -> Path:
    """Run the operation on the version as a worker would, and return the directory that it wrote."""
    check_source(operation, source)
    output = folder / "version"
    output.mkdir()
    task = Task(
        folder, seed, workspace.settings.cpus, source=source, output=output, source_digest=digest, report=workspace.bar
    )
    operation(task, **checked)
    if read_reference(output) is not None:
        (output / "base").symlink_to(weights_directory(source).resolve(), target_is_directory=True)
    return output


def _answers(workspace: Workspace, tree: Path, prompts: Sequence[str]) -> list[str]:
    """Return how a version goes on after each prompt as it stands."""
    return open_version(tree, workspace.host).complete(prompts, ANSWER_TOKENS)
