"""Look tokens up in a codebook at one layer, and learn what it holds (Hartvigsen et al., 2023, sections 3.1, 3.2)."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from amends_editing import attached
from amends_editing.structure import first_of, inspect_model

KIND = "grace"
SLACK = 1e-4  # a state moves by as much when other tokens follow it in a pass; a radius that just reaches would miss it


@dataclass(repr=False)
class Codebook:
    """Keys with their values and radii, in the order in which they were learnt.

    Args:
        layer: Index of the block.
        keys: What enters the block, each of shape (width,).
        values: What the block shall put out there.
        radii: How far each key reaches.
        targets: The answer that each value gives.
    """

    layer: int
    keys: list[Tensor] = field(default_factory=list)
    values: list[Tensor] = field(default_factory=list)
    radii: list[float] = field(default_factory=list)
    targets: list[str] = field(default_factory=list)

    def nearest(self, key: Tensor) -> tuple[int, float]:
        """Return the nearest key's index and distance; the index is -1 where there is none."""
        if not self.keys:
            return -1, float("inf")
        found = distances(key[None], torch.stack(self.keys))[0].min(0)
        return int(found.indices), float(found.values)

    def learn(
        self, key: Tensor, target: str, radius: float, solve: Callable[[], Tensor], holds: Callable[[Tensor], bool]
    ) -> None:
        """Learn that a key shall give a target (algorithm 1).

        Args:
            key: What enters the block at the end of the prompt, shape (width,).
            target: The answer.
            radius: eps_init.
            solve: Finds a value for it.
            holds: Whether a value that is already there gives the answer after this prompt too.
        """
        near, distance = self.nearest(key)
        if near < 0 or distance > self.radii[near] + radius:
            self._add(key, solve(), radius, target)
        elif self.targets[near] == target and holds(self.values[near]):  # expand
            self.radii[near] = max(self.radii[near], distance * (1 + SLACK))
        elif distance == 0:  # the same question once more: what was said last counts
            self.values[near], self.targets[near] = solve(), target
        else:  # split: neither reaches further than half the way, nor further than before
            self.radii[near] = min(self.radii[near], distance / 2)
            self._add(key, solve(), min(radius, distance / 2), target)

    def _add(self, key: Tensor, value: Tensor, radius: float, target: str) -> None:
        self.keys.append(key)
        self.values.append(value)
        self.radii.append(radius)
        self.targets.append(target)

    @contextmanager
    def armed(self, block: nn.Module) -> Iterator[None]:
        """Look tokens up at a block while the context lasts."""
        if not self.keys:
            yield
            return
        keys, values = torch.stack(self.keys), torch.stack(self.values)
        hook = block.register_forward_hook(_looked_up(keys, values, torch.tensor(self.radii)), with_kwargs=True)
        try:
            yield
        finally:
            hook.remove()


def distances(states: Tensor, keys: Tensor) -> Tensor:
    """Return the Euclidean distance of each state to each key, shape (…, keys); exactly 0 between equals."""
    return torch.cdist(states, keys, compute_mode="donot_use_mm_for_euclid_dist")


def _looked_up(keys: Tensor, values: Tensor, radii: Tensor) -> Any:
    def hook(_: nn.Module, args: Any, kwargs: Any, out: Any) -> Any:
        states = args[0] if args else kwargs["hidden_states"]
        device = states.device
        flat = states.reshape(-1, states.shape[-1]).float()
        distance, index = distances(flat, keys.to(device)).min(-1)
        hit = distance <= radii.to(device)[index]
        if not hit.any():
            return out
        hidden = first_of(out).clone()
        hidden.view(-1, hidden.shape[-1])[hit] = values.to(hidden)[index[hit]]
        return (hidden, *out[1:]) if isinstance(out, tuple) else hidden

    return hook


def read(folder: Path) -> Codebook:
    """Read a codebook."""
    data, tensors = attached.read(folder, KIND)
    keys, values = list(tensors["keys"].unbind()), list(tensors["values"].unbind())
    return Codebook(int(data["layer"]), keys, values, tensors["radii"].tolist(), list(data["targets"]))


@dataclass(frozen=True)
class Looked:
    """The seams of a version with a codebook."""

    codebook: Codebook
    block: nn.Module
    digest: str

    def before(self, prompt: str) -> str:
        """Return the prompt as it is."""
        return prompt

    def inside(self, prompt: str) -> AbstractContextManager[None]:
        """Look every token up while the context lasts."""
        return self.codebook.armed(self.block)

    def after(self, prompt: str, answer: str) -> str:
        """Return the answer as it is."""
        return answer

    def part(self, prompt: str) -> str:
        """Name the codebook: which tokens it answers shows only inside."""
        return self.digest


def load(path: Path, model: Any) -> Looked:
    """Load the codebook at `path` onto a model."""
    codebook = read(path)
    digest = hashlib.sha256((path / f"{KIND}.safetensors").read_bytes()).hexdigest()
    return Looked(codebook, inspect_model(model).blocks[codebook.layer], digest)
