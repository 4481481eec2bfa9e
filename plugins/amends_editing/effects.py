"""Causal tracing: where in a model a fact is carried (Meng et al., 2022, section 2).

The subject's embeddings are drowned in noise, so that the answer is lost. Then the output of one block, or those of a
window of MLPs, is put back at one token as it was without the noise; what comes back of the answer's probability is
the *indirect effect* of that place. It is averaged over the draws of noise, then over the tokens of one place, then
over the facts. The probability is that of the answer's first token.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import groupby

import torch
from torch import Tensor

from amends_editing.corrupting import Clean, Corrupted, Draw, run_clean
from amends_editing.knowing import Known
from amends_editing.structure import Anatomy
from amends_editing.targets import Progress, silent


class Place(StrEnum):
    """A token's place in a prompt; where two would fit, the subject's last comes first, then the prompt's last."""

    FIRST = "first subject token"
    MIDDLE = "middle subject tokens"
    SUBJECT = "last subject token"
    AFTER = "first token after"
    FURTHER = "further tokens"
    LAST = "last token"


def place_of(known: Known, token: int) -> Place:
    """Return the place of a token, from the subject's first on."""
    last = known.row.subject
    if token < last:
        return Place.FIRST if token == known.first else Place.MIDDLE
    if token == last:
        return Place.SUBJECT
    if token == len(known.row.tokens) - 1:
        return Place.LAST
    return Place.AFTER if token == last + 1 else Place.FURTHER


@dataclass(frozen=True)
class Settings:
    """How a model is traced.

    Args:
        noise: Its deviation, in those of the subjects' embeddings.
        samples: Draws of noise for each fact.
        window: The share of the depth whose MLPs are put back together; a single one has little effect.
        at_once: Rows in a forward pass.
    """

    noise: float = 3.0
    samples: int = 3
    window: float = 0.2
    at_once: int = 64


@dataclass(frozen=True, eq=False)
class Effects:
    """Average indirect effects, as probabilities; NaN where no fact has such a token.

    Args:
        blocks: Of one block's output, shape (places, layers).
        mlps: Of a window of MLP outputs around each layer, shape (places, layers).
        clean: The answer's mean probability without noise.
        corrupted: The same with it.
        facts: How many facts were traced.
    """

    blocks: Tensor
    mlps: Tensor
    clean: float
    corrupted: float
    facts: int

    @property
    def peak(self) -> int:
        """The layer around which MLPs bring most back at the subject's last token; never the last layer."""
        return int(self.mlps[list(Place).index(Place.SUBJECT), :-1].argmax())


def trace_facts(
    anatomy: Anatomy, facts: Sequence[Known], seed: int, settings: Settings | None = None, progress: Progress = silent
) -> Effects:
    """Measure the average indirect effects of blocks and of MLPs.

    Args:
        anatomy: The model's parts.
        facts: What it knows.
        seed: Of the noise.
        settings: How to trace; by default as the paper does, with fewer draws.
        progress: Told after each forward pass, in rows.
    """
    settings = settings or Settings()
    cleans = [run_clean(anatomy, known) for known in facts]
    draws = list(_draws(cleans, seed, settings))
    places = torch.tensor([list(Place).index(place_of(draw.clean.known, draw.token)) for draw in draws])
    owners = {id(clean): number for number, clean in enumerate(cleans)}
    groups = torch.tensor([owners[id(draw.clean)] for draw in draws]) * len(Place) + places
    lost, gained, done = torch.zeros(len(draws)), torch.zeros(len(draws), 2, len(anatomy.blocks)), 0
    for rows in _batches(draws, settings.at_once):
        progress(done, len(draws), "tracing")
        lost[rows], gained[rows] = _measure(anatomy, [draws[row] for row in rows], settings)
        done += len(rows)
    progress(len(draws), len(draws), "tracing")
    effects = _averages(gained, groups, len(cleans))
    # each fact counts the same however many tokens it has: those of one place, the subject's last, are one a fact
    corrupted = lost[places == list(Place).index(Place.SUBJECT)].mean()
    clean = sum(clean.likely for clean in cleans) / len(cleans)
    return Effects(effects[:, 0], effects[:, 1], clean, float(corrupted), len(cleans))


def _draws(cleans: Sequence[Clean], seed: int, settings: Settings) -> Iterator[Draw]:
    generator = torch.Generator().manual_seed(seed)
    deviation = settings.noise * float(torch.cat([clean.embeddings for clean in cleans]).float().std())
    for clean in cleans:
        for _ in range(settings.samples):
            noise = deviation * torch.randn(clean.embeddings.shape, generator=generator)
            for token in range(clean.known.first, len(clean.known.row.tokens)):
                yield Draw(clean, noise.to(clean.embeddings), token)


def _batches(draws: Sequence[Draw], at_once: int) -> Iterator[list[int]]:
    """Yield indexes of draws of one tail length, those of about one length together."""
    order = sorted(range(len(draws)), key=lambda i: (draws[i].tail, draws[i].token))
    for _, group in groupby(order, key=lambda i: draws[i].tail):
        some = list(group)
        yield from (some[start : start + at_once] for start in range(0, len(some), at_once))


def _measure(anatomy: Anatomy, draws: Sequence[Draw], settings: Settings) -> tuple[Tensor, Tensor]:
    """Return the answers' probabilities with noise, and what comes back, shape (draws, 2, layers)."""
    corrupted, layers = Corrupted(anatomy, draws), range(len(anatomy.blocks))
    blocks = torch.stack([corrupted.with_block(layer) for layer in layers], dim=1)
    mlps = torch.stack([corrupted.with_mlps(window_of(layer, len(layers), settings.window)) for layer in layers], dim=1)
    both = torch.stack([blocks, mlps], dim=1) - corrupted.lost[:, None, None]
    return corrupted.lost.cpu(), both.cpu()


def window_of(layer: int, depth: int, share: float) -> range:
    """Return the layers around one, cut off at the model's ends."""
    width = max(1, round(share * depth))
    first = layer - width // 2
    return range(max(first, 0), min(first + width, depth))


def _averages(gained: Tensor, groups: Tensor, facts: int) -> Tensor:
    """Return means over each fact's tokens of a place, then over facts that have one: (places, 2, layers)."""
    sums = gained.new_zeros(facts * len(Place), *gained.shape[1:]).index_add(0, groups, gained)
    counts = torch.bincount(groups, minlength=len(sums))
    means = (sums / counts[:, None, None]).view(facts, len(Place), *gained.shape[1:])
    return means.nanmean(0)
