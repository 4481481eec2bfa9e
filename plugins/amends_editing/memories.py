"""Serve side memories: route each prompt by how much it activates them (Wang et al., 2024, eqs. 2 and 3)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from amends.serving.encoding import encode_text
from amends_editing import attached
from amends_editing.structure import Anatomy, Projection, inspect_model, reading

KIND = "wise"


def activation_of_each(prompts: Sequence[Tensor], change: Tensor) -> Tensor:
    """Return D(x) of eq. 2 of several prompts, shape (prompts,).

    Args:
        prompts: A(x) of each, what enters the projection, shape (tokens, inner).
        change: W' - W, shape (width, inner).
    """
    sizes = [len(inner) for inner in prompts]
    lengths = F.linear(torch.cat(list(prompts)), change).norm(dim=-1)
    return torch.stack([some.mean() for some in lengths.split(sizes)])


@torch.no_grad()
def activations(anatomy: Anatomy, layer: int, tokenizer: Any, prompt: str) -> Tensor:
    """Return A(x) of a prompt as it stands, shape (tokens, inner)."""
    tokens = torch.tensor([encode_text(tokenizer, prompt)], device=anatomy.device)
    seen: list[Tensor] = []
    with reading(anatomy.projections[layer].module, seen):
        anatomy.model(input_ids=tokens, use_cache=False)
    return seen[0].reshape(tokens.shape[1], -1)


@contextmanager
def beside(projection: Projection, change: Tensor) -> Iterator[None]:
    """Let a projection put out A(x) W' while the context lasts: what it puts out, and A(x) (W' - W)."""
    hook = projection.module.register_forward_hook(lambda _, args, out: out + F.linear(args[0], change))
    try:
        yield
    finally:
        hook.remove()


@dataclass(frozen=True)
class Memory:
    """One side memory: W' - W at a layer, and its router's threshold."""

    layer: int
    threshold: float
    change: Tensor = field(repr=False)


@dataclass(frozen=True)
class Sided:
    """The seams of a version with side memories."""

    anatomy: Anatomy = field(repr=False)
    tokenizer: Any = field(repr=False)
    memories: tuple[Memory, ...]
    digest: str

    def route(self, prompt: str) -> int | None:
        """Return the memory that a prompt activates most, by its own threshold, or None where none passes (eq. 3)."""
        inner = {memory.layer: self._inner(prompt, memory.layer) for memory in self.memories}
        active = [float(activation_of_each([inner[m.layer]], m.change)[0]) / m.threshold for m in self.memories]
        best = max(range(len(active)), key=lambda index: (active[index], index))
        return best if active[best] > 1 else None

    def _inner(self, prompt: str, layer: int) -> Tensor:
        return activations(self.anatomy, layer, self.tokenizer, prompt)

    def before(self, prompt: str) -> str:
        """Return the prompt as it is."""
        return prompt

    def inside(self, prompt: str) -> AbstractContextManager[None]:
        """Turn to the prompt's side memory while the context lasts; the weights answer what belongs to none."""
        found = self.route(prompt)
        if found is None:
            return nullcontext()
        memory = self.memories[found]
        return beside(self.anatomy.projections[memory.layer], memory.change)

    def after(self, prompt: str, answer: str) -> str:
        """Return the answer as it is."""
        return answer

    def part(self, prompt: str) -> str:
        """Name the prompt's side memory."""
        found = self.route(prompt)
        return "" if found is None else f"{self.digest}/{found}"


def load(path: Path, model: Any, tokenizer: Any) -> Sided:
    """Load the side memories at `path` onto a model."""
    data, tensors = attached.read(path, KIND)
    anatomy = inspect_model(model)
    memories = tuple(
        Memory(int(entry["layer"]), float(entry["threshold"]), tensors[entry["name"]].to(anatomy.device))
        for entry in data
    )
    digest = hashlib.sha256((path / f"{KIND}.safetensors").read_bytes()).hexdigest()
    return Sided(anatomy, tokenizer, memories, digest)
