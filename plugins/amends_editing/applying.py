"""Run a method as an operation: read the edits, write them in batches under guard, keep what later edits need.

The version that comes out has whole weights, so that plain clients load it. Beside it, in the lineage's state, lie
the edit itself as low-rank factors with the keys that later edits must leave alone, and the statistics of the text.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from safetensors.torch import load as read_tensors
from safetensors.torch import save as write_tensors
from torch import Tensor

from amends import AmendsError, BadInput, Records, Task
from amends.records import canonical_json
from amends_editing.covariance import Moments, read_moments
from amends_editing.desk import Desk, Factors
from amends_editing.erasing import wish_to_erase
from amends_editing.facts import Fact, Verb
from amends_editing.guarding import Guard
from amends_editing.settings import named_layers
from amends_editing.structure import Anatomy, inspect_model
from amends_editing.targets import Progress, Solver, Wish

EDIT = "editing-edit-"
MOMENTS = "editing-moments"  # the statistics of running text, in a lineage's state
NEEDS_TEXT = (
    "this method needs running text once for each lineage, to know what an edit must not disturb; "
    "give some with --text FILE, best of 200,000 tokens or more"
)
DEFAULT_LAYERS = (0.14, 0.28)  # of the depth; where `amends edit trace` found the facts of SmolLM2

Write = Callable[[Desk, Sequence[Wish]], list[Factors]]


@dataclass(frozen=True)
class Plan:
    """How a method is run.

    Args:
        layers: Comma-separated; empty for what suits the depth.
        depth: From where to where those lie when nobody says, as shares of the depth.
        most_layers: How many of them a method takes; the last ones.
        batch: Facts in one update.
        tokens: Tokens of text that covariances are read over; 0 where the method needs none.
        shrinkage: See `Moments.covariance`.
        max_drift: Most nats that a batch may move plain text; neighbours four times as many.
        solver: How target vectors are searched.
        knows_no_erasure: The method's name, where it cannot erase.
    """

    layers: str = ""
    depth: tuple[float, float] = DEFAULT_LAYERS
    most_layers: int = 5
    batch: int = 50
    tokens: int = 200_000
    shrinkage: float = 0.01
    max_drift: float = 0.5
    solver: Solver = field(default_factory=Solver)
    knows_no_erasure: str = ""


def run(task: Task, edits: Records, text: Records | None, plan: Plan, prepare: Callable[[Desk], Write]) -> None:
    """Edit the task's source and save the result.

    Args:
        task: The task.
        edits: Prepared edit rows.
        text: Rows of running text, or None where the lineage has statistics already.
        plan: How to run the method.
        prepare: From the desk to the function that writes one batch.

    Raises:
        BadInput: There is nothing to edit, or no text, or layers that the model lacks.
        AmendsError: An update failed or moved too much; nothing is saved.
    """
    facts = _read(edits, plan)
    model, tokenizer = task.load()
    anatomy = inspect_model(model)
    layers = choose_layers(anatomy, plan)
    reading = reading_text(task, len(facts))
    moments = _moments(task, anatomy, tokenizer, text, layers, plan.tokens, reading) if plan.tokens else None
    earlier = earlier_keys(task, layers)
    known = {layer: keys.shape[1] for layer, keys in earlier.items()}
    held = earlier_facts(task, layers) + len(facts)
    desk = Desk(anatomy, tokenizer, layers, plan.solver, moments, plan.shrinkage, earlier, held=held)
    made = list(write_in_batches(task, desk, facts, plan, prepare(desk)))
    _keep(task, known, desk, made, len(facts))
    task.save(model, tokenizer)


def _read(edits: Records, plan: Plan) -> list[Fact]:
    """Return the facts, once it is sure that the method can write them: a model is slow to load.

    Raises:
        BadInput: There is none, or one that cannot be written.
    """
    facts = [Fact.from_row(row) for row in edits.rows()]
    if not facts:
        raise BadInput("there is no edit in these records; give at least one")
    if plan.batch < 1:
        raise BadInput(f"batch must be 1 or more, not {plan.batch}")
    erased = [fact for fact in facts if fact.verb is Verb.ERASE]
    if erased and plan.knows_no_erasure:
        raise BadInput(f"{plan.knows_no_erasure} knows no erasure; use editing.memit or editing.alphaedit")
    blank = [fact.id for fact in facts if fact.verb is not Verb.ERASE and not fact.target.strip()]
    if blank:
        raise BadInput(f"edit {blank[0]} has no target; write the answer to give from now on")
    return facts


def choose_layers(anatomy: Anatomy, plan: Plan) -> tuple[int, ...]:
    """Return the layers that a plan names, or those that suit the model's depth.

    Raises:
        BadInput: They are not numbers, or the model lacks them.
    """
    if plan.layers:
        return anatomy.check_layers(named_layers(plan.layers))
    first, last = (min(round(share * len(anatomy.blocks)), len(anatomy.blocks) - 2) for share in plan.depth)
    return anatomy.check_layers(range(first, last + 1)[-plan.most_layers :])


def _moments(
    task: Task,
    anatomy: Anatomy,
    tokenizer: object,
    text: Records | None,
    layers: Sequence[int],
    tokens: int,
    progress: Progress,
) -> Moments:
    """Return the lineage's statistics, or read them from the text and keep them.

    Raises:
        BadInput: There are none and no text to read them from.
    """
    about = {"text": text.digest if text else "", "tokens": tokens}
    if MOMENTS in task.state.names():
        held = _loaded(task.state.get(MOMENTS))
        if set(layers) <= held[0].moments.keys() and (text is None or held[1] == about):
            return held[0]
    if text is None:
        raise BadInput(NEEDS_TEXT)
    moments = _remembered(task, text.digest, layers, tokens, lambda: read_moments(
        anatomy, tokenizer, _texts(text), layers, tokens, progress
    ))  # fmt: skip
    task.state.put(MOMENTS, _dumped(moments, about))
    return moments


def _remembered(task: Task, text: str, layers: Sequence[int], tokens: int, read: Callable[[], Moments]) -> Moments:
    """Return what this machine remembers of model, text and each layer; if one is missing, all are read in one pass."""
    if not task.source_digest:
        return read()
    now: list[Moments] = []

    def make(layer: int) -> bytes:
        if not now:
            now.append(read())
        return _dumped(Moments({layer: now[0].moments[layer]}, now[0].tokens), {})

    found = []
    for layer in layers:
        name = f"second moments of layer {layer}, {tokens} tokens"
        found.append(_loaded(task.memory.once(name, (task.source_digest, text), partial(make, layer)))[0])
    merged = {layer: one.moments[layer] for layer, one in zip(layers, found, strict=True)}
    return Moments(merged, found[0].tokens)


def _dumped(moments: Moments, about: Mapping[str, object]) -> bytes:
    tensors = {str(layer): moment for layer, moment in moments.moments.items()}
    data: bytes = write_tensors(tensors, {"about": canonical_json(about).decode(), "seen": str(moments.tokens)})
    return data


def _loaded(data: bytes) -> tuple[Moments, dict[str, object]]:
    tensors, header = read_tensors(data), _header(data)["__metadata__"]
    moments = Moments({int(name): tensor for name, tensor in tensors.items()}, int(header["seen"]))
    return moments, json.loads(header["about"])


def _header(data: bytes) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    return found


def _texts(text: Records) -> Iterator[str]:
    for row in text.rows():
        yield str(row.get("text") or row.get("prompt") or "")


def earlier_keys(task: Task, layers: Sequence[int]) -> dict[int, Tensor]:
    """Return the keys of the lineage's earlier edits, by layer."""
    found: dict[int, list[Tensor]] = {layer: [] for layer in layers}
    for name in task.state.names():
        if name.startswith(EDIT):
            tensors = read_tensors(task.state.get(name))
            for layer in layers:
                if f"keys.{layer}" in tensors:
                    found[layer].append(tensors[f"keys.{layer}"].double())
    return {layer: torch.cat(keys, dim=1) for layer, keys in found.items() if keys}


def earlier_facts(task: Task, layers: Sequence[int]) -> int:
    """Return how many facts a lineage keeps keys of, in that of some layers that has most; a fact may have two keys."""
    counts = dict.fromkeys(layers, 0)
    for name in task.state.names():
        header = _header(task.state.get(name)) if name.startswith(EDIT) else {}
        for layer in layers:
            if f"keys.{layer}" in header:
                keys = header[f"keys.{layer}"]["shape"][1]
                counts[layer] += int(header.get("__metadata__", {}).get("facts", keys))
    return max(counts.values(), default=0)


def write_in_batches(task: Task, desk: Desk, facts: Sequence[Fact], plan: Plan, write: Write) -> Iterator[Factors]:
    """Write facts batch after batch under guard, and yield what went into the weights.

    Raises:
        AmendsError: An update failed or moved too much, or a weight is not finite.
    """
    projections = desk.anatomy.projections
    for start in range(0, len(facts), plan.batch):
        batch = facts[start : start + plan.batch]
        desk.progress = _onward(task, start, len(batch), len(facts))
        wishes = [_wish(desk, fact) for fact in batch]
        guard = Guard(desk.anatomy, desk.tokenizer, batch, plan.max_drift)
        weights = {layer: projections[layer].weight.detach().clone() for layer in desk.layers}
        made = write(desk, wishes)
        scale, moved = guard.hold(made, weights)
        if scale < 1:
            said = f"kept {scale:g} of an update that moved too much; now it moves {moved}"
            task.progress(start + len(batch) - 1, len(facts), said)
        yield from (Factors(factors.layer, scale * factors.left, factors.right) for factors in made)
    for layer in desk.layers:
        if not bool(projections[layer].weight.isfinite().all()):
            raise AmendsError("an edited weight is NaN or infinite; the parent stands, take fewer edits at once")
    task.progress(len(facts), len(facts), "edited")


def reading_text(task: Task, total: int) -> Progress:
    """Report the reading of text beside the facts, of which none is done yet."""
    return lambda done, of, message: task.progress(0, total, f"{message}, {done} of {of} tokens")


def _onward(task: Task, start: int, batch: int, total: int) -> Progress:
    """Report a batch's progress as a share of all facts, so that it only ever rises."""

    def tell(done: int, of: int, message: str) -> None:
        task.progress(start + done * batch // max(of, 1) - (done == of), total, message)

    return tell


def _wish(desk: Desk, fact: Fact) -> Wish:
    if fact.verb is not Verb.ERASE:
        return Wish(fact)
    return wish_to_erase(desk.anatomy, desk.tokenizer, fact, desk.contexts)


def _keep(task: Task, known: Mapping[int, int], desk: Desk, made: Sequence[Factors], facts: int) -> None:
    """Put the edit's factors and its own keys, those after the `known` ones, into the state under the next number."""
    tensors: dict[str, Tensor] = {}
    for layer in desk.layers:
        mine = [factors for factors in made if factors.layer == layer]
        if mine:
            tensors[f"left.{layer}"] = torch.cat([factors.left for factors in mine], dim=1).contiguous()
            tensors[f"right.{layer}"] = torch.cat([factors.right for factors in mine], dim=1).contiguous()
        keys = desk.keys_before(layer)[:, known.get(layer, 0) :]
        if keys.shape[1]:  # a method without subjects has none
            tensors[f"keys.{layer}"] = keys.float().contiguous()
    number = sum(name.startswith(EDIT) for name in task.state.names())
    task.state.put(f"{EDIT}{number:04d}", write_tensors(tensors, {"facts": str(facts)}))
