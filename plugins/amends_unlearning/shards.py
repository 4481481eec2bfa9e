"""Train, or bring up to date, one adapter for each shard of the records: the one path of training and of erasure.

What comes out depends on the base, the records and the parameters only. Checkpoints and the source's own
adapters are reused where the chain of digests says that training would give the same bytes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from amends import BadInput, Records, Task
from amends.errors import DigestMismatch
from amends.records import canonical_json

from . import checkpoints, lora, routing
from .activations import Example, check_model, prepare
from .canaries import canary_rows
from .lora import Adapter
from .placement import Placement
from .plan import Shard, Slice, base_digest, lay_out
from .points import Halfway
from .training import Settings, train_slice
from .watching import Watched, heeding

KIND = "shards"
INDEX = "shards.json"


@dataclass(frozen=True)
class Work:
    """What is left to do for a shard: nothing where `ready` has its bytes, else its slices from `done` on."""

    shard: Shard
    ready: bytes | None = None
    done: int = 0
    adapter: Adapter | None = None

    def steps(self, settings: Settings) -> int:
        """Return how many steps of training are left."""
        if self.ready is not None:
            return 0
        return sum(settings.steps(len(part.rows)) for part in self.shard.slices[self.done :])


def build(
    task: Task,
    records: Records,
    settings: Settings,
    placement: Placement,
    router_salt: str,
    canaries: int,
    from_scratch: bool = False,
) -> None:
    """Write the version that training in shards on `records` gives.

    Args:
        task: Its source is a base, or a version that was trained in shards.
        records: All that the version may have learnt from, besides its canaries.
        settings: How each slice is trained; like all that follows, the source's own where an erasure is wanted.
        placement: Which shard and slice each record belongs to.
        router_salt: Hex key that each version's router derives its salt from.
        canaries: How many people are planted in each shard.
        from_scratch: Train each shard that differs from the source's from its first slice, as a process
            without checkpoints would.

    Raises:
        BadInput: A parameter or the source cannot be used.
    """
    if task.source is None:
        raise BadInput("training in shards needs a base model; give the operation a source")
    routing.check_salt(router_salt)
    root = {"base": base_digest(task.source), "seed": task.seed, "settings": asdict(settings)}
    shards = lay_out(records.rows(), placement, canaries, root)
    if not from_scratch:
        checkpoints.take_over(task.state, task.scratch, shards)
    works = [_plan(task, shard, from_scratch) for shard in shards]
    Training(task, settings, works, not from_scratch).run()
    task.keep_weights()
    _write(task.output / "attachments" / "order.json", [KIND])
    routing.write(_home(task.output), shards, router_salt, task.state, not from_scratch, heeding(task))
    _write_index(task.output, shards)
    task.state.put("canaries", canonical_json(canary_rows(placement, canaries)))
    checkpoints.drop_others(task.state, shards)


def _plan(task: Task, shard: Shard, from_scratch: bool) -> Work:
    ready = _in_source(task, shard)
    if ready is not None or from_scratch:
        return Work(shard, ready)
    return Work(shard, None, *checkpoints.last_clean(task.state, shard))


def _in_source(task: Task, shard: Shard) -> bytes | None:
    """Return the source's adapter for a shard, if it was trained on just these records in just this way."""
    assert task.source is not None
    for entry in read_index(task.source):
        if entry["shard"] == shard.index and entry["chain"] == shard.chain:
            weights = _home(task.source) / entry["folder"] / lora.WEIGHTS
            if not weights.exists():  # taken out, so that a counterfactual cannot see it
                return None
            data: bytes = weights.read_bytes()
            if hashlib.sha256(data).hexdigest() != entry["adapter"]:
                raise DigestMismatch(f"the source's adapter {entry['folder']} is not what its index says; restore it")
            return data
    return None


@dataclass
class Training:
    """One run over all shards; the model is loaded when the first of them needs training.

    Args:
        task: The source, the output, and the scratch directory that a killed attempt left off in.
        settings: How each slice is trained.
        works: What is left to do for each shard.
        resumes: Whether to go on from where such an attempt was.
        model: The base, once it is loaded.
        tokenizer: Its tokenizer.
        done: Steps that are behind.
    """

    task: Task
    settings: Settings
    works: Sequence[Work]
    resumes: bool
    model: Any = None
    tokenizer: Any = None
    done: int = 0

    def run(self) -> None:
        """Bring every shard's adapter into the output."""
        for work in self.works:
            if work.shard.slices:
                adapter = self._adapter(work) if work.ready is None else lora.from_bytes(work.ready)
                adapter.save(_home(self.task.output) / folder_of(work.shard.index))

    def _adapter(self, work: Work) -> Adapter:
        if self.model is None:
            self.model, self.tokenizer = self.task.load()
            check_model(self.model)
        adapter, parts = work.adapter, work.shard.slices
        report = partial(self._report, work.shard.index)
        examples = [self._prepare(part, partial(report, part.index, 0)) for part in parts]
        for number, part in enumerate(parts[work.done :], start=work.done):
            seed = f"{self.task.seed}:{work.shard.index}:{part.index}:{part.digest}"
            earlier = Watched([example for some in examples[:number] for example in some], heeding(self.task))
            step = partial(report, part.index, 1)
            halfway = self._halfway(part)
            adapter = train_slice(self.model, adapter, earlier, examples[number], self.settings, seed, step, halfway)
            checkpoints.keep(self.task.state, self.task.scratch, work.shard, part, adapter)
        assert adapter is not None
        return adapter

    def _halfway(self, part: Slice) -> Halfway | None:
        stack = [torch.__version__, torch.get_num_threads(), self.task.device]
        file = self.task.scratch / "shards" / "slice"
        return Halfway(file, {"chain": part.chain, "stack": stack}) if self.resumes else None

    def _prepare(self, part: Slice, report: Callable[[], None]) -> list[Example]:
        examples = []
        for row in part.rows:
            report()
            examples.append(prepare(self.model, self.tokenizer, row, self.settings.layers))
        return examples

    def _report(self, shard: int, part: int, steps: int) -> None:
        total = sum(work.steps(self.settings) for work in self.works)
        self.task.progress(self.done, total, f"shard {shard + 1} of {len(self.works)}, slice {part + 1}")
        self.done += steps


def folder_of(shard: int) -> str:
    """Return the name of the folder that holds a shard's adapter."""
    return f"shard-{shard:02d}"


def read_index(version: Path) -> list[dict[str, Any]]:
    """Return what a version says of its shards: number, folder, chain of digests, digest of the adapter."""
    file = _home(version) / INDEX
    return list(json.loads(file.read_bytes())) if file.exists() else []


def _write_index(output: Path, shards: Sequence[Shard]) -> None:
    entries = []
    for shard in shards:
        if shard.slices:
            data = (_home(output) / folder_of(shard.index) / lora.WEIGHTS).read_bytes()
            found = {"adapter": hashlib.sha256(data).hexdigest(), "chain": shard.chain}
            entries.append({"shard": shard.index, "folder": folder_of(shard.index)} | found)
    _write(_home(output) / INDEX, entries)


def _write(file: Path, value: Any) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(canonical_json(value) + b"\n")


def _home(version: Path) -> Path:
    return version / "attachments" / KIND
