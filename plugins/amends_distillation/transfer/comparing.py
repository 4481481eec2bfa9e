"""Whether a carried change says to the tokens of its new model what it said to those of the old: the logit lens."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from amends import ModelVersion, ProbeTask, Reading
from amends.operation.files import load_model
from amends_distillation.transfer.anatomy import WRITING, anatomy_of
from amends_distillation.transfer.carrying import Carrier
from amends_distillation.transfer.deltas import Change, Place, deltas
from amends_distillation.transfer.vocabulary import shared_lenses

NAME = "transfer.lens"
TOP = 10  # tokens of a direction that are compared by name


@dataclass(frozen=True)
class Direction:
    """One direction of a change, before and after it was carried.

    Args:
        weight: Its squared size.
        cosine: Of its logits, or of its reading of the tokens, in the two models; 0 where nothing arrived.
        overlap: The share of its first tokens that are the same.
    """

    weight: float
    cosine: float
    overlap: float


def read_lens(task: ProbeTask, edited: ModelVersion | None, original: ModelVersion | None, rank: int) -> list[Reading]:
    """Read how much of the difference of `edited` and `original` the candidate says that its parent did not say."""
    if edited is None or original is None or task.reference_path is None:
        return _readings([], float("nan"))

    def heed(done: int, total: int) -> None:
        task.progress(done, total, "comparing what was carried")

    theirs = deltas(task.models["edited"], task.models["original"])
    ours = deltas(task.model_path, task.reference_path)
    first, first_words = load_model(task.models["original"], task.device)
    second, second_words = load_model(task.reference_path, task.device)
    one, two = anatomy_of(first), anatomy_of(second)
    carrier = Carrier.between(one, two, shared_lenses((one, first_words), (two, second_words)), "lens")
    there = carrier.matcher.layers(sorted({layer for layer, _ in theirs}), heed)
    changes = {place: Change.of(delta, rank) for place, delta in theirs.items()}
    elsewhere = ours.keys() - {(there[layer], name) for layer, name in changes}
    sizes = {place: float(delta.square().sum()) for place, delta in ours.items()}
    beside = sum(sizes[place] for place in elsewhere) / sum(sizes.values()) if ours else 0.0
    return _readings(list(directions(carrier, changes, ours, there)), beside)


@torch.no_grad()
def directions(
    carrier: Carrier, changes: Mapping[Place, Change], ours: Mapping[Place, Tensor], there: Mapping[int, int]
) -> Iterator[Direction]:
    """Compare every direction of the changes with what the second model makes of it."""
    for (layer, name), change in changes.items():
        arrived = ours.get((there[layer], name))
        for number, size in enumerate(change.sizes.tolist()):
            if arrived is None:
                yield Direction(size**2, 0.0, 0.0)
                continue
            before, after = _said(carrier, change, number, arrived.to(carrier.second.device), name, layer, there[layer])
            yield Direction(size**2, _cosine(before, after), _overlap(before, after))


def _said(
    carrier: Carrier, change: Change, number: int, arrived: Tensor, name: str, layer: int, other: int
) -> tuple[Tensor, Tensor]:
    """Return what a direction is to each shared token, in the first model and in the second."""
    one, two = carrier.lenses
    inner = carrier.inner(name, layer, other)
    writes = name in WRITING
    known = (change.right if writes else change.left.T)[number].to(arrived)
    matched = torch.zeros(arrived.shape[1 if writes else 0], dtype=arrived.dtype, device=arrived.device)
    matched[inner[inner >= 0].to(arrived.device)] = known[(inner >= 0).to(arrived.device)]
    if writes:
        return one.seen @ change.left[:, number].to(arrived), two.seen @ (arrived @ matched)
    part = "mlp" if name in ("gate", "up") else "attention"
    gains = carrier.first.gain(layer, part).double(), carrier.second.gain(other, part).double()
    return one.tokens @ (change.right[number].to(arrived) * gains[0]), two.tokens @ ((matched @ arrived) * gains[1])


def _cosine(one: Tensor, other: Tensor) -> float:
    lengths = float(one.norm() * other.norm())
    return float(one @ other) / lengths if lengths else 0.0


def _overlap(one: Tensor, other: Tensor) -> float:
    count = min(TOP, len(one))
    first, second = (set(said.topk(count).indices.tolist()) for said in (one, other))
    return len(first & second) / count


def _readings(found: list[Direction], beside: float) -> list[Reading]:
    total = sum(one.weight for one in found)

    def mean(values: list[float]) -> float:
        pairs = zip(found, values, strict=True)
        return sum(one.weight * value for one, value in pairs) / total if total else float("nan")

    cosines = [one.cosine for one in found]
    return [
        Reading(f"{NAME}/cosine", mean(cosines), n=len(found), unit="cosine"),
        Reading(f"{NAME}/least", min(cosines, default=float("nan")), n=len(found), unit="cosine"),
        Reading(f"{NAME}/top_tokens", mean([one.overlap for one in found]), n=len(found), unit="share of tokens"),
        Reading(f"{NAME}/beside", beside, n=len(found), unit="share of the change"),
    ]
