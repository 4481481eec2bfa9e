"""What the edits beside the weights share: which facts they take, how a fact is asked, and where files go."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from amends import BadInput, Records, Task
from amends.records import canonical_json
from amends.serving.attaching import attach
from amends.serving.encoding import encode_answer, encode_prompt
from amends_editing.facts import Fact, Verb, row_of
from amends_editing.settings import block_of
from amends_editing.structure import Anatomy
from amends_editing.tails import Row


def read_facts(edits: Records, method: str) -> list[Fact]:
    """Return the facts to insert and to modify.

    Raises:
        BadInput: There are none, one is to be erased, or one has no target.
    """
    facts = [Fact.from_row(row) for row in edits.rows()]
    if not facts:
        raise BadInput(f"{method} was given no edits; give it one or more, or leave the step out")
    for fact in facts:
        if fact.verb is Verb.ERASE:
            raise BadInput(f"{method} cannot erase (edit {fact.id}); take a method that changes weights for erasures")
        if not fact.target.strip():
            raise BadInput(f"edit {fact.id} has no target; write the answer to give from now on")
    return facts


def asked_rows(tokenizer: Any, fact: Fact) -> list[Row]:
    """Return the fact in each form in which a version is asked, with its end of the prompt as the place to edit.

    A prompt comes either as it stands, a sentence's beginning, or in the template of questions; what is looked up by
    its hidden state must know both.
    """
    answer = encode_answer(tokenizer, fact.target)
    forms = (row_of(tokenizer, fact.prompt, fact.subject).tokens, tuple(encode_prompt(tokenizer, fact.prompt.rstrip())))
    return [Row((*form, *answer), len(form) - 1, len(answer)) for form in forms]


def pick_layer(anatomy: Anatomy, layer: int | None, depth: float) -> int:
    """Return a layer, or the one at a share of the depth where none is named.

    The first block is none of them: what enters it is a token without its context.

    Raises:
        BadInput: The model has no such layer.
    """
    blocks = len(anatomy.blocks)
    return block_of(min(int(depth * blocks), blocks - 1) if layer is None else layer, blocks)


def finish(task: Task, kind: str, data: Any, tensors: dict[str, Tensor]) -> None:
    """Write a version: the source's weights, its other attachments as they are, and this one.

    A kind that the source already carries keeps its place in the order; a new one comes after the earlier ones.

    Raises:
        BadInput: The task has no source.
    """
    folder = attach(task, kind)
    (folder / f"{kind}.json").write_bytes(canonical_json(data) + b"\n")
    kept = {name: tensor.detach().float().cpu().contiguous() for name, tensor in sorted(tensors.items())}
    (folder / f"{kind}.safetensors").write_bytes(save_tensors(kept))


def read(folder: Path, kind: str) -> tuple[Any, dict[str, Tensor]]:
    """Return what `finish` wrote of one kind."""
    data = json.loads((folder / f"{kind}.json").read_bytes())
    return data, load_tensors((folder / f"{kind}.safetensors").read_bytes())
