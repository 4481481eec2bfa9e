"""What the transfer benchmark runs: a student cut from its teacher and healed, and one arm of a comparison."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from amends import Records, Task
from amends.operation.files import load_model, save_model
from amends.records import canonical_json
from amends_distillation.transfer.anatomy import anatomy_of
from amends_distillation.transfer.samples import Sample, mean_loss

TOGETHER = 16  # samples in a forward pass
CHUNK = 64  # tokens of text in a row
HEAL_LR = 3e-4


def origins(depth: int, layers: int) -> list[int]:
    """Return which layers of a model make up a student of so many, evenly spread."""
    return [int(layer) for layer in torch.linspace(0, depth - 1, layers).round()]


def cut(source: Path, directory: Path, layers: int, neurons: int) -> Path:
    """Write a student: some layers of a model, evenly spread, with the neurons whose columns are longest."""
    model, tokenizer = load_model(source)
    body, config = model.model, model.config
    body.layers = torch.nn.ModuleList([body.layers[layer] for layer in origins(config.num_hidden_layers, layers)])
    for layer in body.layers:
        mlp = layer.mlp
        longest = mlp.down_proj.weight.norm(dim=0).topk(neurons).indices.sort().values
        for module in (mlp.gate_proj, mlp.up_proj):
            module.weight = torch.nn.Parameter(module.weight[longest].detach().clone())
        mlp.down_proj.weight = torch.nn.Parameter(mlp.down_proj.weight[:, longest].detach().clone())
    config.num_hidden_layers, config.intermediate_size = layers, neurons
    directory.mkdir(parents=True, exist_ok=True)
    save_model(directory, model, tokenizer)
    return directory


def heal(version: Path, text: Sequence[str], steps: int, batch: int, seed: int) -> None:
    """Train all of a student on plain text for a while, in place."""
    model, tokenizer = load_model(version)
    ids = [token for passage in text for token in tokenizer(passage + "\n")["input_ids"]]
    rows = [Sample(tuple(ids[at : at + CHUNK]), 1) for at in range(0, len(ids) - CHUNK, CHUNK)]
    random.Random(seed).shuffle(rows)
    weights = [weight.requires_grad_(True) for weight in model.parameters()]
    optimiser = torch.optim.AdamW(weights, lr=HEAL_LR, weight_decay=0.0)
    for step in range(steps):
        optimiser.param_groups[0]["lr"] = HEAL_LR * (1 - 0.9 * step / steps)
        optimiser.zero_grad()
        some = [rows[(step * batch + place) % len(rows)] for place in range(batch)]
        mean_loss(model, some).backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimiser.step()
    save_model(version, model, tokenizer)


@torch.no_grad()
def loss_of(model: Any, samples: Sequence[Sample]) -> float:
    """Return the mean loss of a token in nats, averaged within each sample first."""
    total = 0.0
    for start in range(0, len(samples), TOGETHER):
        some = samples[start : start + TOGETHER]
        total += float(mean_loss(model, some)) * len(some)
    return total / len(samples)


def known_facts(file: Path) -> list[dict[str, Any]]:
    """Return records of the facts in a file of the ROME project: a prompt that ends before the attribute, and it."""
    rows = json.loads(file.read_text(encoding="utf-8"))
    return [{"prompt": row["prompt"], "answer": row["attribute"], "subjects": []} for row in rows]


def write_records(rows: Sequence[Mapping[str, Any]], directory: Path) -> Records:
    """Write rows as records into a directory."""
    data = b"".join(canonical_json({"id": str(number), **row}) + b"\n" for number, row in enumerate(rows))
    digest = hashlib.sha256(data).hexdigest()
    (directory / f"{digest}.jsonl").write_bytes(data)
    return Records(digest, directory / f"{digest}.jsonl")


@dataclass(frozen=True)
class Split:
    """Facts in an order that a seed draws, of which no two parts share one.

    Args:
        seeds: The seed set.
        tuning: What is tuned on.
        validation: What the learning rate is chosen on.
        test: What is reported.
    """

    seeds: Records
    tuning: Records
    validation: Records
    test: Records

    @classmethod
    def draw(cls, rows: Sequence[Mapping[str, Any]], sizes: Sequence[int], seed: int, directory: Path) -> Split:
        """Return the split of a seed, with parts of these sizes."""
        drawn, parts, start = random.Random(seed).sample(list(rows), len(rows)), [], 0
        for size in sizes:
            parts.append(write_records(drawn[start : start + size], directory))
            start += size
        return cls(*parts)


def run(name: str, source: Path, models: Mapping[str, Path], work: Path, seed: int, **given: Any) -> Path:
    """Run an operation in an empty folder and return the version that it wrote."""
    from amends import ModelVersion, host

    operation = host.current().operation(name)
    task = Task(work / "scratch", seed, source=source, models=dict(models), output=work / "version")
    for folder in (task.scratch, task.output):
        folder.mkdir(parents=True)
    beside = {one: ModelVersion(one, 0, "0" * 64) for one in models}
    operation(task, **operation.check({**given, **beside}))
    return task.output


def tested(version: Path, records: Records) -> float:
    """Return the loss of a version's answers to records."""
    from amends_distillation.transfer.samples import samples_of

    model, tokenizer = load_model(version)
    return loss_of(anatomy_of(model).model, samples_of(tokenizer, records))
